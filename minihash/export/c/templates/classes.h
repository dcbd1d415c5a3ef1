#define ${NAME}_CLASSES $classes
//: names
/* Their names, in order: `static const char *const names[] = ${NAME}_CLASS_NAMES;` */
#define ${NAME}_CLASS_NAMES { \
$names
}
//: probabilities
/* The probability of each class (${NAME}_CLASSES of them), for given outputs. One array may hold both. */
static inline void ${name}_probabilities(const float *out, float *probabilities)
{
$body
}
//: classification
    float largest = out[0], sum = 0.0f;

    for (int i = 1; i < ${NAME}_CLASSES; i++)
        largest = out[i] > largest ? out[i] : largest;
    for (int i = 0; i < ${NAME}_CLASSES; i++)
        sum += probabilities[i] = expf(out[i] - largest);
    for (int i = 0; i < ${NAME}_CLASSES; i++)
        probabilities[i] /= sum;
//: binary
    const float logit = out[0]; /* of the second class */

    probabilities[0] = 1.0f / (1.0f + expf(logit));
    probabilities[1] = 1.0f / (1.0f + expf(-logit));
//: multilabel
    for (int i = 0; i < ${NAME}_CLASSES; i++) /* each by itself */
        probabilities[i] = 1.0f / (1.0f + expf(-out[i]));
