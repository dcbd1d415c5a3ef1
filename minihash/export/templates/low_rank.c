//: row
/* V = U G: U is stored, and G[r, j] is a Gaussian number made from the hash of its position. */
static float ${L}_factor(index_t r, index_t j)
{
    return gaussian(hash_column(hash_row(r, $seed), j)) * $spread;
}

static void ${L}_begin(float *projected)
{
    for (index_t r = 0; r < $rank; r++)
        projected[r] = 0.0f;
}

/* projected = G a, input by input. */
static void ${L}_add(float *projected, index_t j, float a)
{
    if (a == 0.0f)
        return;
    for (index_t r = 0; r < $rank; r++)
        projected[r] += ${L}_factor(r, j) * a;
}

/* z_i = sum_r U[i, r] projected_r + bias */
static float ${L}_unit(const float *projected, index_t i)
{
    float z = $bias;

    for (index_t r = 0; r < $rank; r++)
        z += ${L}_weight((size_t)i * $rank + r) * projected[r];
    return z;
}
//: back
/* grad_j = sum_r G[r, j] sum_i delta_i U[i, r] */
static void ${L}_back(const float *delta, float *grad)
{
    for (index_t j = 0; j < $in; j++)
        grad[j] = 0.0f;
    for (index_t r = 0; r < $rank; r++) {
        float projected = 0.0f;

        for (index_t i = 0; i < $out; i++)
            projected += delta[i] * ${L}_weight((size_t)i * $rank + r);
        for (index_t j = 0; j < $in; j++)
            grad[j] += ${L}_factor(r, j) * projected;
    }
}
//: update
/* The gradient of U[i, r] is delta_i projected_r; G is fixed. */
static void ${L}_update(const float *projected, const float *delta)
{
    for (index_t i = 0; i < $out; i++)
        for (index_t r = 0; r < $rank; r++)
            ${L}_step((size_t)i * $rank + r, delta[i] * projected[r]);
$bias_loop}
