/* Start-up of Cortex-M: vectors, painted stack, data, memory fence, and what happens at a fault. */
#include "board.h"
#include "semihosting.h"

#include <stdint.h>

extern uint32_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_limit[], stack_top[];

int main(void);
void Reset_Handler(void);
void start(void);
void report_fault(const uint32_t *frame);

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))
enum { CPACR = 0xE000ED88, SHCSR = 0xE000ED24, CFSR = 0xE000ED28, MMFAR = 0xE000ED34, MPU_CTRL = 0xE000ED94, MPU_RBAR = 0xE000ED9C };

/* A fault: the emulator gets CFSR, MMFAR, BFAR and the program counter. The stack may be what failed, so it starts anew. */
__attribute__((naked)) static void fault(void)
{
    __asm volatile("mrs r0, msp\n"
                   "ldr r1, =stack_top\n"
                   "mov sp, r1\n"
                   "bl report_fault\n"
                   ".ltorg\n");
}

__attribute__((used, noreturn)) void report_fault(const uint32_t *frame)
{
    uint32_t record[4];
    record[3] = frame >= stack_limit && frame + 8 <= stack_top ? frame[6] : 0U;
    record[0] = REGISTER(CFSR);
    record[1] = REGISTER(MMFAR);
    record[2] = REGISTER(MMFAR + 4); /* BFAR */
    transfer(SYS_WRITE, open_file("fault", 5U, OPEN_WRITE), record, sizeof record);
    leave(EXIT_FAULT);
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler handlers[15];
} vectors = {stack_top, {Reset_Handler, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault}};

/* Paints the stack before any C function has a frame on it, so that its deepest use can be read afterwards. */
__attribute__((naked, used)) void Reset_Handler(void)
{
    __asm volatile(".syntax unified\n" /* GCC for a Cortex-M0 expects the older one */
                   "ldr r0, =stack_limit\n"
                   "ldr r1, =stack_top\n"
                   "ldr r2, =0xC0FFEE5A\n"
                   "1: str r2, [r0]\n"
                   "adds r0, #4\n"
                   "cmp r0, r1\n"
                   "bne 1b\n"
                   "bl start\n"
                   ".ltorg\n");
}

#ifdef BOARD_FENCE
/* Base and attributes of the regions of the memory protection unit (PMSAv7); nothing else may be touched. */
static const struct {
    uint32_t base, attributes;
} fence[] = {BOARD_FENCE};
#endif

__attribute__((used, noreturn)) void start(void)
{
    REGISTER(CPACR) |= 0xFU << 20; /* floating point: compilers may keep integers in its registers */
    for (uint32_t *to = data_start, *from = data_load; to < data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = bss_start; to < bss_end;) {
        *to++ = 0U;
    }
#ifdef BOARD_FENCE
    for (uint32_t i = 0; i < sizeof fence / sizeof fence[0]; i++) {
        REGISTER(MPU_RBAR) = fence[i].base | 16U | i; /* valid, number of the region */
        REGISTER(MPU_RBAR + 4) = fence[i].attributes;
    }
    REGISTER(SHCSR) |= 7U << 16; /* memory, bus and usage faults on their own */
    REGISTER(MPU_CTRL) = 1U;
#endif
    __asm volatile("dsb\nisb" ::: "memory");
    leave((uint32_t)main());
}
