/* Runs the network on every image and writes the logits into "logits". Images are read from the file "images", or, where the network
 * asks for rows, lie in Flash from BOARD_IMAGES to BOARD_IMAGES_END.
 *
 * For the first image, "steps" gets after each output, or each row of it where a step runs by rows: number of the step, row,
 * bytes, the counter; then those bytes, and the counter again.
 * "stack" gets the deepest use of the stack. The code is small on purpose: it stands in the Flash that is measured.
 */
#include "board.h"
#include "model.h"
#include "semihosting.h"

#include <stdint.h>

extern uint32_t stack_limit[], stack_top[];

/* Counts time of which every instruction takes the same share, where the emulator can do that; else reads anything. */
#define COUNTER (*(volatile const uint32_t *)(uintptr_t)BOARD_COUNTER)

#define IMAGE_BYTES ((uint32_t)MODEL_INPUT_HEIGHT * MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS)

static __attribute__((section(".bss.arena"), aligned(8))) uint8_t arena[MODEL_ARENA_BYTES];

void harness_after(unsigned step, unsigned row, const void *values, unsigned bytes, void *context);

void harness_after(unsigned step, unsigned row, const void *values, unsigned bytes, void *context)
{
    uint32_t record[4];
    const uint32_t steps = *(const uint32_t *)context;
    record[3] = COUNTER;
    record[0] = step;
    record[1] = row;
    record[2] = bytes;
    transfer(SYS_WRITE, steps, record, sizeof record);
    transfer(SYS_WRITE, steps, values, bytes);
    record[0] = COUNTER;
    transfer(SYS_WRITE, steps, record, sizeof record[0]);
}

#if MODEL_IMAGE_BY_ROWS
/* A row of an image, from Flash that the machine has beside the device's. */
static const uint8_t *image_row(void *context, unsigned row)
{
    return *(const uint8_t *const *)context + row * (MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS);
}
#endif

int main(void)
{
    uint32_t images = 0, logits = open_file("logits", 6U, OPEN_WRITE), steps = open_file("steps", 5U, OPEN_WRITE), began;
    const int8_t *result;
    const uint32_t *deepest = stack_limit;
#if !MODEL_IMAGE_BY_ROWS
    images = open_file("images", 6U, OPEN_READ);
#endif
    if ((images | logits | steps) >> 31) {
        return EXIT_NO_FILE;
    }
    if (model_init(arena, sizeof arena) != 0) {
        return EXIT_REFUSED;
    }
#if MODEL_IMAGE_BY_ROWS
    const uint8_t *image = (const uint8_t *)BOARD_IMAGES;
    began = COUNTER;
    transfer(SYS_WRITE, steps, &began, sizeof began);
    result = model_invoke_rows_observed(arena, image_row, &image, harness_after, &steps);
    while (transfer(SYS_WRITE, logits, result, MODEL_CLASSES), image += IMAGE_BYTES, image != (const uint8_t *)BOARD_IMAGES_END) {
        result = model_invoke_rows(arena, image_row, &image);
    }
#else
    for (uint32_t image = 0; transfer(SYS_READ, images, model_input(arena), IMAGE_BYTES) == 0U; image++) {
        if (image == 0U) {
            began = COUNTER;
            transfer(SYS_WRITE, steps, &began, sizeof began);
            result = model_invoke_observed(arena, harness_after, &steps);
        } else {
            result = model_invoke(arena);
        }
        transfer(SYS_WRITE, logits, result, MODEL_CLASSES);
    }
#endif
    while (*deepest == 0xC0FFEE5AU) {
        deepest++;
    }
    began = (uint32_t)((uintptr_t)stack_top - (uintptr_t)deepest);
    transfer(SYS_WRITE, open_file("stack", 5U, OPEN_WRITE), &began, sizeof began);
    return EXIT_DONE;
}
