"""A stand-in for an exported network: no kernels, and misbehaviour on demand."""

from __future__ import annotations

from pathlib import Path

from nas_engine.verification.cortex_m import MACHINES
from nas_engine.verification.toolchain import COMPILERS, missing_compiler

SIZE = 12
"""Bytes of an image."""

CLASSES = 3
ARENA = 1024

BEHAVIOURS = (
    "work",
    "write beyond SRAM",
    "read beyond SRAM",
    "read beyond Flash",
    "write to Flash",
    "execute SRAM",
    "overflow the stack",
    "loop",
    "undefined instruction",
    "write below SRAM",
    "unaligned pair",
)
"""Behaviours that the first byte of an image selects."""

HEADER = f"""
#include <stddef.h>
#include <stdint.h>
#define MODEL_INPUT_HEIGHT 2
#define MODEL_INPUT_WIDTH 2
#define MODEL_INPUT_CHANNELS 3
#define MODEL_CLASSES {CLASSES}
#define MODEL_LAYERS 2
#define MODEL_ARENA_BYTES ARENA_BYTES
int model_init(void *arena, size_t bytes);
uint8_t *model_input(void *arena);
const int8_t *model_invoke(void *arena);
const int8_t *model_invoke_observed(
    void *arena,
    void (*after)(unsigned step, unsigned row, const void *values, unsigned bytes, void *context),
    void *context);
"""

SOURCE = """
#include "model.h"
#include <string.h>

extern const uint8_t weights[];
const uint8_t weights[PACKED_BYTES]
    __attribute__((section(".rodata.nas_packed.00_first"))) = {1, 2, 3};
static int32_t calls = 7;

__attribute__((noinline)) static uint32_t deep(uint32_t n)
{
    volatile uint32_t frame[16];
    frame[n & 15U] = n;
    return n == 0U ? frame[0] : deep(n - 1U) + frame[n & 15U];
}

static void misbehave(uint8_t *arena)
{
    volatile uint8_t *volatile sram = (volatile uint8_t *)(uintptr_t)0x20000000U;
    volatile uint8_t *volatile flash = (volatile uint8_t *)(uintptr_t)0U;
    switch (arena[0]) {
    case 1: sram[SRAM_BYTES] = 1; break;
    case 2: arena[1] = sram[SRAM_BYTES]; break;
    case 3: arena[1] = flash[FLASH_BYTES]; break;
    case 4: flash[64] = 1; break;
    case 5: memset(arena + 16, 0, 8); ((void (*)(void))((uintptr_t)arena + 17U))(); break;
    case 6: deep(100000U); break;
    case 7: for (;;) { sram[SRAM_BYTES - 1U] = 0; }
    case 8: __asm volatile("udf #1"); break;
    case 9: sram[-4] = 1; break;
    case 10: __asm volatile("ldrd r2, r3, [%0]" : : "r"(arena + 2) : "r2", "r3"); break;
    default: break;
    }
}

int model_init(void *arena, size_t bytes)
{
    return arena == NULL || bytes < MODEL_ARENA_BYTES ? -1 : 0;
}
uint8_t *model_input(void *arena) { return arena; }

static void first(uint8_t *arena)
{
    misbehave(arena);
    for (unsigned i = 0; i < 12U; i++) {
        arena[12 + i] = (uint8_t)(arena[i] * ((const volatile uint8_t *)weights)[i % 3U]);
    }
}

static int8_t *second(uint8_t *arena)
{
    calls++;
    memset(arena, 0, 3);
    for (unsigned i = 0; i < 12U; i++) {
        arena[i % 3U] = (uint8_t)(arena[i % 3U] + arena[12 + i]);
    }
    arena[0] = (uint8_t)((uint32_t)arena[0] + (uint32_t)calls + deep(20U) - 210U);
    return (int8_t *)arena;
}

const int8_t *model_invoke(void *arena)
{
    first(arena);
    return second(arena);
}

const int8_t *model_invoke_observed(
    void *arena,
    void (*after)(unsigned step, unsigned row, const void *values, unsigned bytes, void *context),
    void *context)
{
    first(arena);
    after(0, 0, arena, ARENA_BYTES, context);
    second(arena);
    after(1, 0, arena, ARENA_BYTES, context);
    return (int8_t *)arena;
}
"""


def write(folder: Path, *, arena: int = ARENA, packed: int = 64, sram: int, flash: int) -> Path:
    """Write the stand-in into a folder as ``c/`` of an export would be, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {
        "ARENA_BYTES": arena,
        "PACKED_BYTES": packed,
        "SRAM_BYTES": sram,
        "FLASH_BYTES": flash,
    }
    defines = "".join(f"#define {name} {value}U\n" for name, value in values.items())
    (folder / "model.h").write_text(
        "#ifndef MODEL_H\n#define MODEL_H\n" + defines + HEADER + "#endif\n", encoding="utf-8"
    )
    (folder / "model.c").write_text(SOURCE, encoding="utf-8")
    return folder


def answers(images: list[bytes]) -> bytes:
    """Return the logits of the stand-in."""
    result = bytearray()
    for number, image in enumerate(images):
        scaled = [(value * (1, 2, 3)[i % 3]) & 255 for i, value in enumerate(image)]
        sums = [sum(scaled[k::3]) & 255 for k in range(CLASSES)]
        sums[0] = (sums[0] + 8 + number) & 255
        result += bytes(sums)
    return bytes(result)


def compilers() -> list[str]:
    """Return the compilers that are installed."""
    return [name for name in COMPILERS if missing_compiler(name) is None]


def emulators() -> list[str]:
    """Return the emulators that are installed."""
    return [machine.name for machine in MACHINES if machine.missing() is None]
