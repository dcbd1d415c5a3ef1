//: relu
static float relu(float z)
{
    return z < 0.0f ? 0.0f : z;
}
//: tanh
/* tanhf is the C library's. */
//: sigmoid
static float sigmoid(float z)
{
    const float decay = expf(-fabsf(z)); /* it cannot overflow */

    return (z < 0.0f ? decay : 1.0f) / (1.0f + decay);
}
//: relu_slope
/* Slopes, as functions of what came out. */
static float relu_slope(float y)
{
    return y > 0.0f ? 1.0f : 0.0f;
}
//: tanh_slope
static float tanh_slope(float y)
{
    return 1.0f - y * y;
}
//: sigmoid_slope
static float sigmoid_slope(float y)
{
    return y * (1.0f - y);
}
