/* jail.h - limits of the converter's process, set once at its start. */
#ifndef CONVERT_JAIL_H
#define CONVERT_JAIL_H

#include <stdint.h>

/* Memory (address space), processor time, no core dump; no sockets and no new programs where the
 * kernel lets a process say so (seccomp; where it does not, the conversion goes on without: the
 * limits are a second wall, the first is that the reader takes only data). */
void jail_enter(uint64_t memory_bytes, uint64_t cpu_seconds);

#endif
