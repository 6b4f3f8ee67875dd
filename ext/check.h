/* CHECK: what must hold, said where it must. poison: memory nobody may read again. Both are compiled in by
 * FASTSIP_DEBUG alone, because Python's own flags define NDEBUG and so silence assert(). */
#ifndef FASTSIP_CHECK_H
#define FASTSIP_CHECK_H

#ifdef FASTSIP_DEBUG
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define poison(memory, size) memset(memory, 0xDB, size)
#define CHECK(condition)                                                                                               \
    ((condition) ? (void)0                                                                                             \
                 : (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition), abort()))
#else
#define CHECK(condition) ((void)(0 && (condition)))
#define poison(memory, size) ((void)0)
#endif

#endif
