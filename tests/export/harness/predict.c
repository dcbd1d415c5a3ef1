/* Rows of inputs on standard input, in the machine's byte order; their outputs on standard output. */
#include <stdio.h>

#include "model.h"

#ifndef INPUT_T
#define INPUT_T float
#define NUMBER_T float
#endif

int main(void)
{
    static INPUT_T x[MODEL_INPUTS];
    static NUMBER_T out[MODEL_OUTPUTS];

    if (model_selftest() != 0)
        return 1;
    while (fread(x, sizeof(INPUT_T), MODEL_INPUTS, stdin) == MODEL_INPUTS) {
        model_predict(x, out);
        if (fwrite(out, sizeof(NUMBER_T), MODEL_OUTPUTS, stdout) != MODEL_OUTPUTS)
            return 2;
    }
    return 0;
}
