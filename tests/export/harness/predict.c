/* Rows of float inputs on standard input, in the machine's byte order; their outputs on standard output. */
#include <stdio.h>

#include "model.h"

int main(void)
{
    static float x[MODEL_INPUTS], out[MODEL_OUTPUTS];

    if (model_selftest() != 0)
        return 1;
    while (fread(x, sizeof(float), MODEL_INPUTS, stdin) == MODEL_INPUTS) {
        model_predict(x, out);
        if (fwrite(out, sizeof(float), MODEL_OUTPUTS, stdout) != MODEL_OUTPUTS)
            return 2;
    }
    return 0;
}
