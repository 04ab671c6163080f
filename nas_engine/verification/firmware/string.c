/* memcpy, memmove and memset for an image without a C library. Words where both ends are aligned, bytes otherwise. */
#define FIRMWARE_STRING_C
#include "string.h"

/* GCC would recognise the loops below and call the functions in which they stand. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

#include <stdint.h>

/* Words that may lie over any other type, as the bytes of a copy do. */
typedef uint32_t __attribute__((may_alias)) word;
typedef struct {
    uint32_t four[4];
} __attribute__((may_alias)) words;

static int is_aligned(const void *a, const void *b)
{
    return (((uintptr_t)a | (uintptr_t)b) & 3U) == 0U;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    if (is_aligned(to, from)) {
        for (; bytes >= 16U; bytes -= 16U, target += 16, source += 16) {
            *(words *)(void *)target = *(const words *)(const void *)source;
        }
        for (; bytes >= 4U; bytes -= 4U, target += 4, source += 4) {
            *(word *)(void *)target = *(const word *)(const void *)source;
        }
    }
    for (; bytes > 0U; bytes--) {
        *target++ = *source++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t bytes)
{
    unsigned char *target = to;
    const unsigned char *source = from;
    if (target <= source || target >= source + bytes) {
        return memcpy(to, from, bytes);
    }
    while (bytes > 0U) {
        bytes--;
        target[bytes] = source[bytes];
    }
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    unsigned char *target = to;
    const word four = (word)(unsigned char)value * 0x01010101U;
    if (is_aligned(to, to)) {
        for (; bytes >= 4U; bytes -= 4U, target += 4) {
            *(word *)(void *)target = four;
        }
    }
    for (; bytes > 0U; bytes--) {
        *target++ = (unsigned char)value;
    }
    return to;
}

/* Names of the Arm run-time ABI (IHI 0043), which LLVM calls. The order of arguments of __aeabi_memset differs. */
void __aeabi_memcpy(void *to, const void *from, size_t bytes);
void __aeabi_memcpy4(void *to, const void *from, size_t bytes);
void __aeabi_memcpy8(void *to, const void *from, size_t bytes);
void __aeabi_memmove(void *to, const void *from, size_t bytes);
void __aeabi_memmove4(void *to, const void *from, size_t bytes);
void __aeabi_memmove8(void *to, const void *from, size_t bytes);
void __aeabi_memset(void *to, size_t bytes, int value);
void __aeabi_memset4(void *to, size_t bytes, int value);
void __aeabi_memset8(void *to, size_t bytes, int value);
void __aeabi_memclr(void *to, size_t bytes);
void __aeabi_memclr4(void *to, size_t bytes);
void __aeabi_memclr8(void *to, size_t bytes);

void __aeabi_memcpy(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
void __aeabi_memcpy4(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
void __aeabi_memcpy8(void *to, const void *from, size_t bytes) { memcpy(to, from, bytes); }
void __aeabi_memmove(void *to, const void *from, size_t bytes) { memmove(to, from, bytes); }
void __aeabi_memmove4(void *to, const void *from, size_t bytes) { memmove(to, from, bytes); }
void __aeabi_memmove8(void *to, const void *from, size_t bytes) { memmove(to, from, bytes); }
void __aeabi_memset(void *to, size_t bytes, int value) { memset(to, value, bytes); }
void __aeabi_memset4(void *to, size_t bytes, int value) { memset(to, value, bytes); }
void __aeabi_memset8(void *to, size_t bytes, int value) { memset(to, value, bytes); }
void __aeabi_memclr(void *to, size_t bytes) { memset(to, 0, bytes); }
void __aeabi_memclr4(void *to, size_t bytes) { memset(to, 0, bytes); }
void __aeabi_memclr8(void *to, size_t bytes) { memset(to, 0, bytes); }
