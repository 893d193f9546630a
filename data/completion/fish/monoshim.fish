# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of monoshim(1) for fish.

# The options that say where to ask, and of which namespace.
function __monoshim_where
    set -l words (commandline -opc)
    echo -- --no-ask-password
    for i in (seq 2 (count $words))
        switch $words[$i]
            case -n --namespace --address
                set -q words[(math $i + 1)]; and printf '%s\n' $words[$i] $words[(math $i + 1)]
            case '-n?*' '--namespace=*' '--address=*'
                printf '%s\n' $words[$i]
        end
    end
end

# Containers in these states, or all.
function __monoshim_containers
    set -l state
    set -q argv[1]; and set state --state=$argv[1]
    monoshim list (__monoshim_where) $state '--format={{.ID}}\t{{.Status}}' 2>/dev/null
end

function __monoshim_namespaces
    monoshim list (__monoshim_where) --all-namespaces '--format={{.Namespace}}' 2>/dev/null | sort -u
end

# The verb, and how many arguments stand behind it.
function __monoshim_verb
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case -n --namespace --address --json
                set -e words[1]
            case '-*'
            case '*'
                echo $words[1]
                return 0
        end
        set -e words[1]
    end
    return 1
end

function __monoshim_is
    set -l verb (__monoshim_verb)
    and contains -- $verb $argv
end

function __monoshim_needs_verb
    not __monoshim_verb >/dev/null
end

complete -c monoshim -f
complete -c monoshim -l namespace -s n -x -a '(__monoshim_namespaces)' -d 'namespace of ids'
complete -c monoshim -l json -x -a 'short pretty off' -d 'print JSON'
complete -c monoshim -l address -r -F -d 'where monoshimd is'
complete -c monoshim -l no-ask-password -d 'fail where polkit would ask for a password'
complete -c monoshim -l help -s h -d 'show the options'
complete -c monoshim -l version -d 'show the version'

complete -c monoshim -n __monoshim_needs_verb -a run -d 'create and start a container, wait, delete it'
complete -c monoshim -n __monoshim_needs_verb -a exec -d 'run another program in a container'
complete -c monoshim -n __monoshim_needs_verb -a attach -d 'show the terminal of what runs there'
complete -c monoshim -n __monoshim_needs_verb -a create -d 'create a container'
complete -c monoshim -n __monoshim_needs_verb -a start -d 'start created containers'
complete -c monoshim -n __monoshim_needs_verb -a kill -d 'send a signal'
complete -c monoshim -n __monoshim_needs_verb -a stop -d 'ask to end, and kill those that do not'
complete -c monoshim -n __monoshim_needs_verb -a pause -d 'stop all that runs in them, for a while'
complete -c monoshim -n __monoshim_needs_verb -a resume -d 'let it go on'
complete -c monoshim -n __monoshim_needs_verb -a update -d 'change what containers may use'
complete -c monoshim -n __monoshim_needs_verb -a delete -d 'delete containers that have ended'
complete -c monoshim -n __monoshim_needs_verb -a wait -d 'wait until they have ended'
complete -c monoshim -n __monoshim_needs_verb -a checkpoint -d 'write an image of a running container'
complete -c monoshim -n __monoshim_needs_verb -a restore -d 'start a container from an image'
complete -c monoshim -n __monoshim_needs_verb -a list -d 'list containers'
complete -c monoshim -n __monoshim_needs_verb -a logs -d 'show what a container has written'
complete -c monoshim -n __monoshim_needs_verb -a inspect -d 'show all that is known of containers'
complete -c monoshim -n __monoshim_needs_verb -a ps -d 'list the processes in a container'
complete -c monoshim -n __monoshim_needs_verb -a stats -d 'show what containers use'
complete -c monoshim -n __monoshim_needs_verb -a events -d 'show what has happened'
complete -c monoshim -n __monoshim_needs_verb -a reload -d 'read the configuration again'
complete -c monoshim -n __monoshim_needs_verb -a help -d 'show the options of a verb'

complete -c monoshim -n '__monoshim_is run create' -l bundle -s b -x -a '(__fish_complete_directories)' -d 'OCI bundle'
complete -c monoshim -n '__monoshim_is run create' -l checkpoint -x -a '(__fish_complete_directories)' -d 'image to restore from'
complete -c monoshim -n '__monoshim_is run create' -l name -x -d 'id'
complete -c monoshim -n '__monoshim_is run create' -l rootfs -x -a '(__fish_complete_directories)' -d 'root file system to run a command in'
complete -c monoshim -n '__monoshim_is run create' -l hostname -x -d 'host name'
complete -c monoshim -n '__monoshim_is run create' -l mount -x -a 'type=bind,src= type=tmpfs,dst=' -d 'mount this in the container'
complete -c monoshim -n '__monoshim_is run create' -l read-only -d 'root file system is not to be written to'
complete -c monoshim -n '__monoshim_is run create update' -l memory -x -d 'limit of memory'
complete -c monoshim -n '__monoshim_is run create update' -l cpus -x -d 'limit of CPU time'
complete -c monoshim -n '__monoshim_is run create update' -l pids-limit -x -d 'limit of processes'
complete -c monoshim -n '__monoshim_is run exec create restore' -l terminal -s t -d 'give it a terminal'
complete -c monoshim -n '__monoshim_is run exec create' -l env -s e -x -a '(set -xn)=' -d 'variable'
complete -c monoshim -n '__monoshim_is run exec create' -l cwd -x -d 'directory to run it in'
complete -c monoshim -n '__monoshim_is run exec create' -l user -s u -x -d 'who runs it, by number'
complete -c monoshim -n '__monoshim_is run exec create restore' -l stdin -r -F -a 'journal: file:// binary:// -' -d 'standard input'
complete -c monoshim -n '__monoshim_is run exec create restore' -l stdout -r -F -a 'journal: file:// binary:// -' -d 'standard output'
complete -c monoshim -n '__monoshim_is run exec create restore' -l stderr -r -F -a 'journal: file:// binary:// -' -d 'standard error'
complete -c monoshim -n '__monoshim_is run exec create restore' -l io-uid -x -d 'owner of its FIFOs and pipes'
complete -c monoshim -n '__monoshim_is run exec create restore' -l io-gid -x -d 'group of its FIFOs and pipes'
complete -c monoshim -n '__monoshim_is run create restore' -l runtime -r -F -a 'runc crun' -d 'OCI runtime'
complete -c monoshim -n '__monoshim_is run create restore' -l runtime-root -x -a '(__fish_complete_directories)' -d 'where the runtime keeps its state'
complete -c monoshim -n '__monoshim_is run create restore' -l systemd-cgroup -d 'control groups by systemd'
complete -c monoshim -n '__monoshim_is run create restore' -l no-pivot -d 'do not use pivot_root'
complete -c monoshim -n '__monoshim_is run create restore' -l no-new-keyring -d 'no session keyring of its own'
complete -c monoshim -n '__monoshim_is run create restore list' -l label -x -d 'label'
complete -c monoshim -n '__monoshim_is run create restore' -l relay -d 'have monoshimd pass on its streams'
complete -c monoshim -n '__monoshim_is run create restore' -l rootfs-mount -x -d 'mount on the rootfs of the bundle'
complete -c monoshim -n '__monoshim_is run create restore' -l criu-work-path -x -a '(__fish_complete_directories)' -d 'where CRIU leaves its logs'
complete -c monoshim -n '__monoshim_is run exec' -l detach -s d -d 'leave it running'
complete -c monoshim -n '__monoshim_is run exec' -l interactive -s i -d 'pass our stdin'
complete -c monoshim -n '__monoshim_is run exec attach' -l detach-keys -x -d 'what to type to leave it running'
complete -c monoshim -n '__monoshim_is run' -l rm -d 'delete it when it has ended'
complete -c monoshim -n '__monoshim_is exec' -l exec-id -x -d 'id of the program'
complete -c monoshim -n '__monoshim_is exec' -l process -r -F -d 'OCI process object'
complete -c monoshim -n '__monoshim_is attach' -l no-stdin -d 'pass nothing on'
complete -c monoshim -n '__monoshim_is kill stop' -l signal -s s -x -a 'TERM KILL HUP INT QUIT USR1 USR2 STOP CONT WINCH' -d 'signal'
complete -c monoshim -n '__monoshim_is kill stop' -l all -s a -d 'all of them'
complete -c monoshim -n '__monoshim_is kill delete wait logs' -l exec -x -d 'program that was run there'
complete -c monoshim -n '__monoshim_is stop' -l timeout -s t -x -d 'time before killing'
complete -c monoshim -n '__monoshim_is stop list stats events' -l all-namespaces -s A -d 'of every namespace'
complete -c monoshim -n '__monoshim_is update' -l memory-swap -x -d 'limit of memory and swap'
complete -c monoshim -n '__monoshim_is update' -l memory-reservation -x -d 'memory that is left to it'
complete -c monoshim -n '__monoshim_is update' -l cpu-quota -x -d 'CPU time of each period'
complete -c monoshim -n '__monoshim_is update' -l cpu-period -x -d 'period'
complete -c monoshim -n '__monoshim_is update' -l cpu-shares -x -d 'weight among others'
complete -c monoshim -n '__monoshim_is update' -l cpuset-cpus -x -d 'CPUs'
complete -c monoshim -n '__monoshim_is update' -l cpuset-mems -x -d 'memory nodes'
complete -c monoshim -n '__monoshim_is update' -l blkio-weight -x -d 'weight for disks'
complete -c monoshim -n '__monoshim_is update' -l resources -r -F -d 'OCI resources object'
complete -c monoshim -n '__monoshim_is delete' -l force -s f -d 'kill those that still run'
complete -c monoshim -n '__monoshim_is checkpoint' -l exit -d 'end the container then'
complete -c monoshim -n '__monoshim_is checkpoint' -l open-tcp -d 'allow TCP connections'
complete -c monoshim -n '__monoshim_is checkpoint' -l external-unix-sockets -d 'allow unix sockets'
complete -c monoshim -n '__monoshim_is checkpoint' -l terminal -d 'give it a terminal'
complete -c monoshim -n '__monoshim_is checkpoint' -l file-locks -d 'allow file locks'
complete -c monoshim -n '__monoshim_is checkpoint' -l empty-namespace -x -a 'network ipc uts mount pid user cgroup time' -d 'namespace to be left empty'
complete -c monoshim -n '__monoshim_is checkpoint' -l work-path -x -a '(__fish_complete_directories)' -d 'where CRIU leaves its logs'
complete -c monoshim -n '__monoshim_is checkpoint' -l parent-path -x -a '(__fish_complete_directories)' -d 'earlier image'
complete -c monoshim -n '__monoshim_is list' -l state -x -a '(__fish_append , created running pausing paused stopped)' -d 'only in these states'
complete -c monoshim -n '__monoshim_is list' -l quiet -s q -d 'ids only'
complete -c monoshim -n '__monoshim_is list ps stats' -l no-legend -d 'no names of columns'
complete -c monoshim -n '__monoshim_is list' -l format -x -a "'{{.ID}}' '{{.Namespace}}' '{{.Status}}' '{{.Pid}}' '{{.Path}}' '{{.Bundle}}' '{{.ControlGroup}}' '{{.CreatedAt}}' '{{.ExitStatus}}' '{{.ExitedAt}}' '{{.Labels}}' '{{.OOMKills}}' '{{.Runtime}}' '{{.StartedAt}}' '{{.Stdin}}' '{{.Stdout}}' '{{.Stderr}}' '{{.Terminal}}'" -d 'form of each line'
complete -c monoshim -n '__monoshim_is logs events' -l follow -s f -d 'go on with what comes'
complete -c monoshim -n '__monoshim_is logs' -l lines -s l -x -a all -d 'last lines'
complete -c monoshim -n '__monoshim_is logs' -l directory -s D -x -a '(__fish_complete_directories)' -d 'journal in this directory'
complete -c monoshim -n '__monoshim_is stats' -l interval -x -d 'time between two looks'
complete -c monoshim -n '__monoshim_is stats' -l no-stream -d 'once'
complete -c monoshim -n '__monoshim_is events' -l since -s s -x -d 'sequence number'

complete -c monoshim -n '__monoshim_is exec pause' -a '(__monoshim_containers running)'
complete -c monoshim -n '__monoshim_is attach kill stop update ps' -a '(__monoshim_containers created,running,pausing,paused)'
complete -c monoshim -n '__monoshim_is start' -a '(__monoshim_containers created)'
complete -c monoshim -n '__monoshim_is resume' -a '(__monoshim_containers paused)'
complete -c monoshim -n '__monoshim_is delete wait logs inspect events' -a '(__monoshim_containers)'
complete -c monoshim -n '__monoshim_is checkpoint' -a '(__monoshim_containers running,paused)'
complete -c monoshim -n '__monoshim_is stats' -a '(__monoshim_containers running,pausing,paused)'
complete -c monoshim -n '__monoshim_is checkpoint restore' -a '(__fish_complete_directories)'
complete -c monoshim -n '__monoshim_is help' -a 'run exec attach create start kill stop pause resume update delete wait checkpoint restore list logs inspect ps stats events reload help'
