//: parameters
/* ------------------------------------------------------------------------------------------ the parameters
 *
 * They lie in RAM, where training moves them; each layer names its own part.
 */
static float parameters[$count] = {
$values
};

float ${name}_learning_rate = 0.01f;

#ifdef ${NAME}_MOMENTUM /* gradients are collected in the velocity, which moves the parameters in the end */
float ${name}_momentum = 0.9f;
static float velocity[$count];

static void step(size_t k, float grad)
{
    velocity[k] += grad;
}
#else /* every gradient moves its parameter at once: nothing but the parameters is kept */
static void step(size_t k, float grad)
{
    parameters[k] -= ${name}_learning_rate * grad;
}
#endif
//: train
/* ---------------------------------------------------------------------------------------------- training */

/* loss = -log softmax(z)[label]; its gradient is delta = softmax(z) - (1 for the label, else 0). */
static float softmax_cross_entropy(const float *z, int label, float *delta)
{
    const float largest = z[${name}_label(z)]; /* subtracted, so that nothing overflows */
    float total = 0.0f;

    for (index_t i = 0; i < $outputs; i++) {
        delta[i] = expf(z[i] - largest);
        total += delta[i];
    }
    for (index_t i = 0; i < $outputs; i++)
        delta[i] /= total;
    delta[label] -= 1.0f;
    return logf(total) - (z[label] - largest);
}

float ${name}_train_step(const float *x, int label)
{
    float loss;

    if (label < 0 || label >= $outputs)
        return -1.0f;
    forward(x, NULL, ${last}_out);
    loss = softmax_cross_entropy(${last}_out, label, ${last}_delta);
#ifdef ${NAME}_MOMENTUM
    for (size_t k = 0; k < $count; k++)
        velocity[k] *= ${name}_momentum;
#endif
    /* From the last layer to the first: a layer hands its gradient back before its weights move. */
$lines
#ifdef ${NAME}_MOMENTUM
    for (size_t k = 0; k < $count; k++)
        parameters[k] -= ${name}_learning_rate * velocity[k];
#endif
    return loss;
}

void ${name}_read_parameters(void (*put)(uint32_t place, float value))
{
    for (size_t k = 0; k < $count; k++)
        put((uint32_t)k, parameters[k]);
}

void ${name}_load_parameters(float (*get)(uint32_t place))
{
    for (size_t k = 0; k < $count; k++) {
        parameters[k] = get((uint32_t)k);
#ifdef ${NAME}_MOMENTUM
        velocity[k] = 0.0f;
#endif
    }
}
