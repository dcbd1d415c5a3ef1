
/* One step of stochastic gradient descent on one example. It returns the loss from before the step, the
 * cross-entropy of the outputs' softmax with `label`. A label out of range gives -1 and changes nothing. */
float ${name}_train_step(const float *x, int label);

extern float ${name}_learning_rate; /* 0.01 at the start */
#ifdef ${NAME}_MOMENTUM /* define it for all files: v = momentum v + gradient, w -= learning_rate v */
extern float ${name}_momentum; /* 0.9 at the start */
#endif

/* Read out all parameters, and load them back (which forgets the velocity): hooks for an EEPROM or a file. */
#define ${NAME}_PARAMETERS $parameters
void ${name}_read_parameters(void (*put)(uint32_t place, float value));
void ${name}_load_parameters(float (*get)(uint32_t place));
