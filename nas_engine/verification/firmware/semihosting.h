/* Semihosting (Arm IHI 0070 / ARM 100863): the debugger or emulator does what BKPT 0xAB asks for. Only what is used here. */
#ifndef FIRMWARE_SEMIHOSTING_H
#define FIRMWARE_SEMIHOSTING_H

#include <stdint.h>

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_READ = 1, OPEN_WRITE = 5 }; /* "rb" and "wb" */
enum { EXIT_DONE = 0, EXIT_FAULT = 70, EXIT_NO_FILE = 71, EXIT_REFUSED = 72 };

static inline uint32_t semihosting(uint32_t operation, const void *arguments)
{
    register uint32_t r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* Ends the run; never returns under an emulator. */
static inline __attribute__((noreturn)) void leave(uint32_t status)
{
    const uint32_t arguments[2] = {0x20026U, status}; /* ADP_Stopped_ApplicationExit */
    for (;;) {
        semihosting(SYS_EXIT_EXTENDED, arguments);
    }
}

static inline uint32_t transfer(uint32_t operation, uint32_t handle, const void *bytes, uint32_t count)
{
    const uint32_t arguments[3] = {handle, (uint32_t)(uintptr_t)bytes, count};
    return semihosting(operation, arguments); /* how many bytes were left over */
}

/* `length` counts the name without its end. */
static inline uint32_t open_file(const char *name, uint32_t length, uint32_t mode)
{
    const uint32_t arguments[3] = {(uint32_t)(uintptr_t)name, mode, length};
    return semihosting(SYS_OPEN, arguments);
}

#endif
