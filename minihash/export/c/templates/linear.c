//: entry
/* V[i, j] is stored for every i and j, row after row. */
static float ${L}_entry(index_t i, index_t j)
{
    return ${L}_weight($place);
}
//: input
/* z = bias, before the first input. */
static void ${L}_begin(float *z)
{
    for (index_t i = 0; i < $out; i++)
        z[i] = $bias;
}

/* z_i += V[i, j] a for every unit i: input j does all it has to do, and need not be kept. */
static void ${L}_add(float *z, index_t j, float a)
{
    if (a == 0.0f)
        return; /* it adds nothing */
    for (index_t i = 0; i < $out; i++)
        z[i] += ${L}_entry(i, j) * a;
}
//: unit
/* z_i = sum_j V[i, j] a_j + bias: unit i is made at once, and need not be kept. */
static float ${L}_unit(const float *a, index_t i)
{
    float z = $bias;

    for (index_t j = 0; j < $in; j++)
        if (a[j] != 0.0f)
            z += ${L}_entry(i, j) * a[j];
    return z;
}
//: back
/* grad_j = sum_i delta_i V[i, j] */
static void ${L}_back(const float *delta, float *grad)
{
    for (index_t j = 0; j < $in; j++) {
        grad[j] = 0.0f;
        for (index_t i = 0; i < $out; i++)
            grad[j] += delta[i] * ${L}_entry(i, j);
    }
}
//: update
/* The gradient of V[i, j] is delta_i a_j. */
static void ${L}_update(const float *$source, const float *delta)
{
    for (index_t j = 0; j < $in; j++) {
        const float a = $input;

        if (a == 0.0f)
            continue;
        for (index_t i = 0; i < $out; i++)
            ${L}_step($place, delta[i] * a);
    }
$bias_loop}
