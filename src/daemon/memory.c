/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the C library keeps memory for us. */

#include "daemon/memory.h"
#include "host/spawn.h"
#include "util/instrument.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>

/* The C library's own default, but fixed: by itself it takes what was freed once for what will be needed again, and
 * keeps twice as much, such as after a runtime has logged megabytes. */
#define KEEP_AT_MOST (128 * 1024)

#define NO_THREAD_CACHE "glibc.malloc.tcache_count=0"

void memory_configure(char *argv[]) {
        const char *tunables = getenv(SPAWN_TUNABLES);
        _cleanup_(freep) char *path = NULL;

        (void) mallopt(M_TRIM_THRESHOLD, KEEP_AT_MOST);

        /* Ours from the first time, or the admin's: not to be meddled with. Under valgrind the allocator is another
         * one, and what it executes would not run under it any more. */
        if (tunables || is_under_valgrind())
                return;

        /* By its name, which ps(1) is to show, and not as "exe". */
        if (program_get_own(&path) < 0 || setenv(SPAWN_TUNABLES, NO_THREAD_CACHE, true) < 0)
                return;
        (void) execv(path, argv);
        (void) unsetenv(SPAWN_TUNABLES);
}

/* Code that was changed when it was loaded is nowhere but with us. */
static bool has_text_relocations(const struct dl_phdr_info *info) {
        for (unsigned i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *p = &info->dlpi_phdr[i];

                if (p->p_type != PT_DYNAMIC)
                        continue;
                for (const ElfW(Dyn) *d = (const ElfW(Dyn) *) (info->dlpi_addr + p->p_vaddr); d->d_tag != DT_NULL; d++)
                        if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
                                return true;
        }
        return false;
}

/* What cannot be written to is as it is in the file: program and libraries are replaced, not changed. */
static int forget_constant_pages(struct dl_phdr_info *info, size_t size, void *userdata) {
        const uintptr_t mask = ~((uintptr_t) sysconf(_SC_PAGESIZE) - 1);

        if (strstr(strempty(info->dlpi_name), "vdso") || has_text_relocations(info))
                return 0;

        for (unsigned i = 0; i < info->dlpi_phnum; i++) {
                const ElfW(Phdr) *p = &info->dlpi_phdr[i];
                uintptr_t begin = (info->dlpi_addr + p->p_vaddr) & mask;
                uintptr_t end = info->dlpi_addr + p->p_vaddr + p->p_memsz;

                if (p->p_type == PT_LOAD && !(p->p_flags & PF_W))
                        (void) madvise((void *) begin, end - begin, MADV_DONTNEED);
        }
        return 0;
}

void memory_settle(void) {
        if (HAVE_SANITIZER || is_under_valgrind())
                return;

        (void) malloc_trim(0);
        (void) dl_iterate_phdr(forget_constant_pages, NULL);
}
