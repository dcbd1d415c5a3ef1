# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # To a microcontroller
#
# Can a chip with 32 KB of flash, 2 KB of RAM and no floating-point unit read handwriting? And can it learn
# to?
#
# The chip is the ATmega328P, the one on an Arduino Uno: 8 bits, 16 MHz, and multiplications of 8 bits at
# most. A dense network 784-100-10 has 79,510 weights, 318,040 bytes of them: ten times the flash, a hundred
# and fifty times the RAM. This notebook hashes that network, rounds its buckets to four bits, writes it as
# C, compiles the C for the chip and runs it in a simulator. In the second half a smaller network is trained
# on the chip itself, one digit at a time.
#
# It wants `avr-gcc`, `avr-libc` and `simavr` (packages `gcc-avr`, `avr-libc` and `simavr` of Debian). Where
# one is missing the same C is compiled by this computer's `gcc` and run here: labels and training are the
# same, and there are no cycles to count.

# %%
import copy
import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minihash
from minihash import datasets, figures, losses, mlp, schedules
from minihash.export import to_c
from minihash.optimizers import SGD, Adam
from minihash.quantization import choose_scale, codes_of, fine_tune, quantize, quantized

FAST = bool(os.environ.get("MINIHASH_FAST"))
FLASH, RAM, STACK, CLOCK = 32 * 1024, 2 * 1024, 200, 16e6  # of the chip; bytes, and cycles a second

ON_CHIP = all(shutil.which(tool) for tool in ("avr-gcc", "avr-size", "simavr"))
HOST = shutil.which("gcc") or shutil.which("cc")
assert HOST, "this notebook needs a C compiler: gcc, and for the chip gcc-avr, avr-libc and simavr"
print("The programs run on a simulated ATmega328P." if ON_CHIP else
      "avr-gcc or simavr is missing: the programs are compiled by the host's gcc, and run on this computer.")

plt.rcParams.update(figures.STYLE)
plt.rcParams["figure.dpi"] = 90
workspace = tempfile.TemporaryDirectory()  # gone when the notebook ends
folder = Path(workspace.name)

# %% [markdown]
# ## The network
#
# Both layers are hashed to 1/8: entry $(i, j)$ of the virtual matrix is looked up at a hash of its
# position,
#
# $$V_{ij} = \xi(i, j)\, w_{h(i, j)} \qquad \text{(eq. 7)},$$
#
# so that only the buckets $w$ are stored, and no index. (In the first notebooks a bucket was an index $k$;
# here the word stands for the number $w_k$ that is stored in it.) Training is the usual one, with all 12,000
# digits of the package that are not for testing.

# %%
digits = datasets.load("mnist-small")
network = mlp([784, 100, 10], compression=1/8, input_scale=digits.input_scale, dropout=(0.1, 0.0), seed=1)
minihash.fit(network, digits.train_and_validation(), epochs=3 if FAST else 20, optimizer=Adam(0.004),
             schedule=schedules.one_cycle(0.004), seed=0, progress=False)

error = minihash.evaluate(network, digits.test)["error"]
print(f"{network.num_virtual:,} virtual weights, {network.num_parameters:,} stored: {network.nbytes:,} bytes")
print(f"test error {100 * error:.2f} %")
assert network.num_virtual == 79_510 and network.num_parameters == 9_938
assert error < (0.12 if FAST else 0.06)

# %% [markdown]
# 39,752 bytes are still too many. The next factor comes from how a bucket is written.
#
# ## Quantise
#
# A bucket becomes a small whole number, its *code*, times one scale $s$ for the whole layer:
#
# $$w_k \approx s\, q_k, \qquad
# q_k = \operatorname{clip}\bigl(\operatorname{round}(w_k / s),\ \pm(2^{b-1} - 1)\bigr).$$
#
# With $b = 8$ bits there are 255 levels, with 4 bits 15. The scale is a compromise. A large one reaches the
# largest weight and rounds all others coarsely; a small one rounds finely and clips the few large weights.
# `choose_scale` tries 81 candidates and takes the one with the least squared error. The left panel shows
# the buckets of the hidden layer with the 15 levels that were chosen: the outermost are inside the range of
# the weights, whose smallest and largest, too few to be seen as bars, are marked by triangles. The right
# panel shows the error for every scale, relative to the one that clips nothing: with 4 bits the best scale
# clips, with 8 it hardly does.

# %%
weight = network.params["1.weight"]
scale = choose_scale(weight, 4)

figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
left.hist(weight, bins=120, color=figures.COLORS[5])
for code in range(-7, 8):
    left.axvline(scale * code, color="black", linewidth=0.8, linestyle=":")
left.plot([weight.min(), weight.max()], [0, 0], "^", color=figures.COLORS[1], clip_on=False)
left.set(xlabel="bucket $w_k$", ylabel="buckets", title="15 levels for 4 bits")

parts = np.linspace(0.2, 1.0, 81)
for bits, color, dash in ((8, figures.COLORS[0], "-"), (4, figures.COLORS[1], "--")):
    largest = np.abs(weight).max() / (2 ** (bits - 1) - 1)  # nothing is clipped
    errors = [np.sqrt(np.mean((quantized(weight, part * largest, bits) - weight) ** 2)) for part in parts]
    right.plot(parts, np.array(errors) / weight.std(), color=color, linestyle=dash, label=f"{bits} bits")
    best = choose_scale(weight, bits)
    chosen = np.sqrt(np.mean((quantized(weight, best, bits) - weight) ** 2)) / weight.std()
    right.plot(best / largest, chosen, "o", color=color)
    assert np.isclose(best / largest, parts[np.argmin(errors)], atol=1e-6)
right.set(xlabel="scale, relative to the one that clips nothing", ylabel="error / spread of $w$",
          yscale="log", title="error of the scales, the chosen marked")
right.legend()

assert 7 * scale < np.abs(weight).max()  # the largest weights are clipped
assert np.unique(codes_of(weight, scale, 4)).size == 15
plt.show()

# %% [markdown]
# What does it cost in accuracy? Eight bits are free, four cost a little.

# %%
versions = {"float32": network, "8 bits": quantize(network, 8), "4 bits": quantize(network, 4)}
errors = {name: minihash.evaluate(version, digits.test)["error"] for name, version in versions.items()}
stored = {name: version.nbytes for name, version in versions.items()}
for name in versions:
    print(f"{name:20}{stored[name]:8,} bytes   {100 * errors[name]:.2f} %")

assert abs(errors["8 bits"] - errors["float32"]) < 0.002
assert stored["4 bits"] == 9_812 // 2 + 126 // 2 + 2 * 4  # two codes a byte, and a scale a layer

# %% [markdown]
# A *fine-tune* wins some of it back. It trains on for a few epochs with the weights in floating point,
# rounds them before each forward pass, and lets the gradient at the rounded weights move the unrounded
# ones: "straight through" the rounding, whose own derivative is zero almost everywhere.

# %%
chip_network, _ = fine_tune(copy.deepcopy(network), digits.train_and_validation(), bits=4,
                            epochs=1 if FAST else 5, seed=1, progress=False)  # of a copy: it ends up rounded
tuned_error = minihash.evaluate(chip_network, digits.test)["error"]
print(f"4 bits, fine-tuned: {100 * tuned_error:.2f} %")
assert tuned_error - errors["float32"] < 0.006

# %% [markdown]
# ## Export
#
# `to_c` writes the network as plain C99. Its report says what the chip will have to hold and to do.

# %%
report = to_c(chip_network, folder / "predict")
print(report)

K = [layer.num_buckets for layer in chip_network.layers if hasattr(layer, "num_buckets")]
assert report.flash == sum(-(-k // 2) for k in K)  # two codes a byte
assert report.ram == 4 * (100 + 10)  # one float a unit

# %% [markdown]
# The RAM is the surprise: 440 bytes, while the 784 inputs alone would take 3,136 as floats. Nobody keeps
# the inputs. They are asked for one by one, each is added to all 100 hidden sums, and is forgotten:
#
# $$z_i \leftarrow z_i + V_{ij}\, a_j \quad \text{for all } i, \qquad j = 0, 1, \dots, 783.$$
#
# That is eq. 8, $z_i = \sum_j V_{ij}\, a_j$, with the loops exchanged. Here is the hidden layer as it was
# written: the hash, its scaling to a bucket's number, how a bucket's code is read, and the functions that
# use them.

# %%
source = (folder / "predict" / "model.c").read_text()


def show(start, end):
    print(source[source.index(start):source.index(end, source.index(start))].strip())


show("static uint32_t absorb", "/* (hash * n)")
print()
show("/* (hash * n)", "/* Weight k of")
print()
show("/* Weight k of", "static float relu")
print()
show("#define layer0_weight(k)", "\n")
print()
show("/* V[i, j]: one hash", "/* ----")

# %% [markdown]
# Three things are worth a look. The hash takes in `i` and then `j`, as `minihash.hashing` does, with the
# same constants: the buckets are Python's to the bit, and nothing about them is stored. An input of 0
# returns before any hash is made, and four pixels in five are 0. Sums are of codes; the scale $s$ waits
# until a unit is finished.
#
# ## Compile
#
# A program for the chip needs a `main`, and a board needs a few lines of its own: numbers go out by the
# serial port, a timer counts cycles. Without the cross compiler the same names are `printf` and no clock at
# all.

# %%
BOARD = r"""
#include <stdint.h>
#ifdef __AVR__
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
static volatile uint16_t overflows;            /* of the timer, which counts every 1024 cycles */
ISR(TIMER1_OVF_vect) { overflows++; }
static void begin(void)
{ UCSR0B = 1 << TXEN0; TCCR1B = (1 << CS12) | (1 << CS10); TIMSK1 = 1 << TOIE1; sei(); }
static void start_clock(void) { overflows = 0; TCNT1 = 0; }
static uint32_t cycles(void)
{ const uint16_t low = TCNT1; return (((uint32_t)overflows << 16) + low) * 1024; }
static void put(char c) { while (!(UCSR0A & (1 << UDRE0))) {} UDR0 = (uint8_t)c; }
static void put_number(uint32_t value, char end)
{
    char text[10];
    uint8_t count = 0;
    do { text[count++] = (char)('0' + value % 10); value /= 10; } while (value);
    while (count) put(text[--count]);
    put(end);
}
static void end(void)                          /* the simulator stops where a chip would sleep for ever */
{ put('\n'); for (volatile uint16_t wait = 0; wait < 20000; wait++) {} cli(); sleep_mode(); }
#else
#include <stdio.h>
#define PROGMEM
#define pgm_read_byte(place) (*(place))
static void begin(void) {}
static void start_clock(void) {}
static uint32_t cycles(void) { return 0; }
static void put_number(uint32_t value, char end) { printf("%lu%c", (unsigned long)value, end); }
static void end(void) {}
#endif
"""

PREDICT = r"""
#include "board.h"
#include "digits.h"                            /* DIGITS, digits[][], in flash memory */
#include "model.h"
static const uint8_t *digit;
static float read(uint32_t j) { return (float)pgm_read_byte(&digit[j]); }

int main(void)
{
    static float out[MODEL_OUTPUTS];
    begin();
    for (uint16_t n = 0; n < DIGITS; n++) {
        digit = digits[n];
        start_clock();
        model_predict_stream(read, out);       /* asks for the pixels, one after the other */
        const uint32_t taken = cycles();
        put_number((uint32_t)model_label(out), ' ');
        put_number(taken, '\n');
    }
    end();
    return 0;
}
"""

# %% [markdown]
# Two functions: one compiles, one runs and collects the numbers that were printed, a list a line. (`simavr`
# shows what comes out of the serial port in green, with a dot for the end of a line.)

# %%
SECTIONS = ["-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]  # leave out what nobody calls
COMPILER = ["avr-gcc", "-mmcu=atmega328p", "-Os"] if ON_CHIP else [HOST, "-O2"]


def compile_program(where, program, images, labels=()):
    """Compile a program with its digits; return its path, or raise RuntimeError as the compiler says."""
    rows = ",".join("{" + ",".join(map(str, image)) + "}" for image in images.astype(np.uint8).tolist())
    text = f"#define DIGITS {len(images)}\n"
    text += f"static const uint8_t digits[DIGITS][{images.shape[1]}] PROGMEM = {{{rows}}};\n"
    if len(labels):
        text += f"static const uint8_t labels[DIGITS] PROGMEM = {{{','.join(map(str, labels))}}};\n"
    for name, content in (("board.h", BOARD), ("digits.h", text), ("program.c", program)):
        (where / name).write_text(content)
    command = [*COMPILER, "-std=c99", *SECTIONS, "-o", "program.elf", "program.c", "model.c", "-lm"]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(re.search("error: (.*)", done.stderr)[1])
    return where / "program.elf"


def run_program(path):
    """Return the numbers that a program prints, a list a line."""
    command = ["simavr", "-m", "atmega328p", "-f", "16000000"] if ON_CHIP else []
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    text = subprocess.run([*command, path], text=True, **both).stdout
    lines = re.findall(r"\x1b\[32m([\d ]+)\.", text) if ON_CHIP else text.splitlines()
    return [[int(word) for word in line.split()] for line in lines]


def sizes(path):
    """Return bytes of flash and of static RAM."""
    text = subprocess.run(["avr-size", path], capture_output=True, text=True).stdout
    code, data, zeros = map(int, text.splitlines()[1].split()[:3])
    return code + data, data + zeros


# %% [markdown]
# Does it fit? The same network in its three precisions, with one digit of 784 bytes in the program. (The
# compiler refuses the first before it comes to the chip's flash: no array may be as large as 32 KB.)

# %%
one = digits.test[0][:1]
needed = {"dense, float32": 4 * network.num_virtual}
for name, version in versions.items():
    where = folder / name.replace(" ", "")
    flash = to_c(version, where).flash
    try:
        path = compile_program(where, PREDICT, one)
        total, ram = sizes(path) if ON_CHIP else (flash + 784, report.ram)
        what = f"{total:6,} bytes of flash and {ram} of RAM" if ON_CHIP else f"{flash:6,} bytes of weights"
        print(f"{name:8}: {what}")
    except RuntimeError as refused:
        total = flash
        print(f"{name:8}: {flash:6,} bytes of weights, and the compiler says: {refused}")
    needed[f"hashed to 1/8, {name}"] = total

assert needed["hashed to 1/8, float32"] > FLASH > needed["hashed to 1/8, 8 bits"]
assert needed["hashed to 1/8, 4 bits"] < FLASH / 3

# %% [markdown]
# The bars show the flash on a logarithmic axis. The pale ones are weights alone, of programs that cannot be
# made; the dark ones are whole programs with a digit. Hashing takes the dense network from ten chips to a
# little more than one; the codes bring it well below. Of the 8,828 bytes that remain, 4,969 are weights,
# 784 are the digit, and the rest is program.

# %%
figure, axes = plt.subplots(figsize=(7, 2.2), layout="constrained")
pale = [figures.COLORS[0 if value < FLASH else 5] for value in needed.values()]
bars = axes.barh(list(needed), needed.values(), color=pale, height=0.6)
axes.bar_label(bars, labels=[f"{value:,}" for value in needed.values()], padding=4)
axes.axvline(FLASH, color=figures.COLORS[1], linestyle="--")
axes.text(FLASH * 1.05, 3.15, "the chip's 32 KB", color=figures.COLORS[1], va="center")
axes.set(xscale="log", xlim=(2e3, 1.2e6), xlabel="bytes of flash")
axes.grid(axis="y", visible=False)
axes.invert_yaxis()
plt.show()

# %% [markdown]
# ## Run
#
# The fine-tuned network, and the first twelve test digits. The simulated chip classifies them; Python's
# network says what should come out.

# %%
count = 4 if FAST else 12
images, labels = digits.test[0][:count], digits.test[1][:count]
path = compile_program(folder / "predict", PREDICT, images)
results = np.array(run_program(path))
found, taken = results[:, 0], results[:, 1]

assert (found == chip_network.predict(images).argmax(axis=1)).all()  # every label is Python's
if ON_CHIP:
    flash, ram = sizes(path)
    print(f"{flash:,} bytes of flash with {count} digits, {ram} of RAM and at most {STACK} of stack")
    print(f"{taken.mean() / 1e6:.1f} million cycles a digit: {taken.mean() / CLOCK:.2f} s at 16 MHz")
    assert flash <= FLASH and ram + STACK <= RAM
print(f"labels on the {'chip' if ON_CHIP else 'host'}: {found.tolist()}")

# %% [markdown]
# Each digit with the chip's label above it, and the seconds it took. Thin digits are faster: a one takes
# about half as long as a zero.

# %%
figure, grid = plt.subplots(2, count // 2, figsize=(7, 2.9), layout="constrained")
for axes, image, label, truth, clock in zip(grid.flat, images, found, labels, taken):
    axes.imshow(image.reshape(28, 28), cmap="gray_r")
    axes.set_axis_off()
    time = f", {clock / CLOCK:.1f} s" if ON_CHIP else ""
    axes.set_title(f"{label}{time}" + ("" if label == truth else f" (is {truth})"), fontsize=9)
plt.show()

# %% [markdown]
# Why that is so is in `layer0_add`: a pixel of 0 returns at once. The time must be a straight line over the
# pixels that are not 0, and the slope the price of one input: 100 hashes, 100 products, 100 sums.

# %%
nonzero = np.count_nonzero(images, axis=1)
if ON_CHIP:
    slope, start = np.polyfit(nonzero, taken, 1)
    print(f"{slope:,.0f} cycles a pixel that is not 0, so {slope / 100:,.0f} a virtual weight")
    assert np.corrcoef(nonzero, taken)[0, 1] > 0.999

    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    axes.plot(nonzero, taken / 1e6, "o", color=figures.COLORS[0], label="a digit")
    ends = np.array([0, 250])
    axes.plot(ends, (start + slope * ends) / 1e6, "--", color=figures.COLORS[1], label="fitted line")
    axes.set(xlabel="pixels that are not 0", ylabel="million cycles", xlim=(0, 250), ylim=(0, None))
    axes.legend()
    plt.show()
else:
    print("There is no clock here. Pixels that are not 0, a digit:", nonzero.tolist())

# %% [markdown]
# A dense network would pay for one product and one sum. Here comes a hash: up to six multiplications of 32
# bits and two to scale it, and the chip has to put each together from products of 8 bits. A virtual weight
# is cheap in memory and dear in time: HashedNets exchange the one for the other, and on a chip whose memory
# is the limit that is a good trade.
#
# ## A hash for many weights
#
# Need every weight have a hash? With *tiles* ([the second notebook](02_virtual_matrix.ipynb)) a unit draws,
# for each segment of the inputs, a tile of consecutive weights: one hash finds them all. Where there are
# fewer tiles than units, the products are shared too. An input is multiplied by the $T$ tiles, in its segment
# $g$ and at its offset $u$, and not by the units:
#
# $$P_{g\tau} \leftarrow P_{g\tau} + (\text{tile } \tau)_u\, \xi_2(j)\, a_j \quad \text{for all } \tau,
# \qquad z_i = \sum_g \xi_1(i, g)\, P_{g\,\tau(i, g)} \quad \text{in the end.}$$
#
# The same network, of the same size, with `tile="auto"`:

# %%
tiled = mlp([784, 100, 10], compression=1/8, tile="auto", input_scale=digits.input_scale, dropout=(0.1, 0.0),
            seed=1)
minihash.fit(tiled, digits.train_and_validation(), epochs=3 if FAST else 20, optimizer=Adam(0.004),
             schedule=schedules.one_cycle(0.004), seed=0, progress=False)
tiled, _ = fine_tune(tiled, digits.train_and_validation(), bits=4, epochs=1 if FAST else 5, seed=1,
                     progress=False)
tiled_error = minihash.evaluate(tiled, digits.test)["error"]
tiling = tiled.layers[1].bucket_map
print(f"{tiling.tiles} tiles of {tiling.tile} weights, {tiling.segments} segments a row; {tiled.nbytes:,} bytes")
print(f"test error {100 * tiled_error:.2f} %, of single weights {100 * tuned_error:.2f} %")
print(to_c(tiled, folder / "tiles"))

assert tiled.nbytes == chip_network.nbytes and abs(tiled_error - tuned_error) < 0.02
assert (tiling.tiles, tiling.tile, tiling.segments) == (50, 197, 4)

# %% [markdown]
# 490 hashes instead of 79,510, and half of the multiplications. What does the chip say?

# %%
results = np.array(run_program(compile_program(folder / "tiles", PREDICT, images)))
assert (results[:, 0] == tiled.predict(images).argmax(axis=1)).all()
if ON_CHIP:
    faster = taken.mean() / results[:, 1].mean()
    print(f"{results[:, 1].mean() / 1e6:.1f} million cycles a digit, {results[:, 1].mean() / CLOCK:.2f} s: "
          f"{faster:.1f} times faster")
    assert faster > 4
print(f"labels: {results[:, 0].tolist()}")

# %% [markdown]
# The price is memory: the products are kept, $T \cdot G$ of them, and the places of the columns are a table.
#
# ## Learn
#
# Now the chip is to learn by itself, by stochastic gradient descent with one example at a time. Weights
# that change must be in RAM, of which there are 2,048 bytes for everything: buckets, hidden values, their
# gradients, the input, the stack.
#
# The task shrinks accordingly: digits of 8 × 8 pixels and a network 64-24-10, with 200 buckets for its
# 1,560 hidden weights and 80 for the 250 output weights. A dense network of that shape needs 7,240 bytes
# for the weights alone.

# %%
BUCKETS, RATE = (200, 80), 0.03


def shrink(images):
    """Return digits of 8 × 8 pixels: means over 3 × 3, without the border."""
    middle = images.reshape(-1, 28, 28)[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
    return middle.mean(axis=(2, 4)).round().reshape(-1, 64).astype(np.float32)


def new_network():
    return mlp([64, 24, 10], num_buckets=BUCKETS, input_scale=1/255, seed=1)


stream, stream_labels = shrink(digits.train[0]), digits.train[1]
test, test_labels = shrink(digits.test[0]), digits.test[1]
student = new_network()
report = to_c(student, folder / "learn", training=True)
print(report)
assert report.ram + 4 * 64 + STACK < RAM < 4 * student.num_virtual

# %% [markdown]
# With `training=True` the C has one more function, `model_train_step(x, label)`. It goes forward, forms
# $\delta = \operatorname{softmax}(z) - y$ at the outputs, and then takes the layers from last to first,
# each handing its gradient back before its weights move. The update is eq. 12,
# $\partial L / \partial w_k = \sum_{h(i,j)=k} \xi(i, j)\, \delta_i\, a_j$, one term at a time: there is no
# gradient array, every $\delta_i a_j$ moves its bucket at once, so that the sum over a bucket comes
# about by itself.
#
# $$w_{h(i,j)} \leftarrow w_{h(i,j)} - \eta\, \xi(i, j)\, \delta_i\, a_j \qquad \text{for all } i, j.$$

# %%
source = (folder / "learn" / "model.c").read_text()
show("static void layer0_move", "/* The gradient of V[i, j] is")
show("static void layer0_update", "/* ---")

# %% [markdown]
# The program that learns: the loss of every step goes out by the serial port as the 32 bits of a float, and
# so do the buckets in the end.

# %%
LEARN = r"""
#include "board.h"
#include "digits.h"
#include "model.h"
static float x[MODEL_INPUTS];
static void put_bits(uint32_t place, float value)
{
    union { float number; uint32_t bits; } both = {value};
    (void)place;
    put_number(both.bits, '\n');
}

int main(void)
{
    begin();
    model_learning_rate = RATE;
    for (uint8_t pass = 0; pass < PASSES; pass++)
        for (uint16_t n = 0; n < DIGITS; n++) {
            for (uint16_t j = 0; j < MODEL_INPUTS; j++)
                x[j] = (float)pgm_read_byte(&digits[n][j]);
            start_clock();
            const float loss = model_train_step(x, pgm_read_byte(&labels[n]));
            const uint32_t taken = cycles();
            put_bits(n, loss);
            put_number(taken, '\n');
        }
    model_read_parameters(put_bits);
    end();
    return 0;
}
"""
count, passes = (120, 2) if FAST else (250, 4)
program = f"#define RATE {RATE}f\n#define PASSES {passes}\n" + LEARN
path = compile_program(folder / "learn", program, stream[:count], stream_labels[:count])
said = np.array(run_program(path), np.uint32).ravel()
steps = count * passes
numbers = said.view(np.float32)  # the same 32 bits, read as floats
chip_losses, step_cycles, chip_weights = numbers[:2 * steps:2], said[1:2 * steps:2], numbers[2 * steps:]
assert chip_weights.size == sum(BUCKETS)
if ON_CHIP:
    flash, ram = sizes(path)
    print(f"{flash:,} bytes of flash with {count} digits, {ram:,} of RAM and at most {STACK} of stack")
    mean = step_cycles.mean()
    print(f"{mean / 1e6:.1f} million cycles a step: {mean / CLOCK:.2f} s at 16 MHz")
    assert flash <= FLASH and ram + STACK <= RAM

# %% [markdown]
# Python takes the same steps on the same digits. If the chip's arithmetic is right, and nothing in its two
# kilobytes has run over, then the losses agree step by step, and so do the 280 buckets in the end.

# %%
optimizer, losses_here = SGD(RATE), []
for _ in range(passes):
    for x, label in zip(stream[:count], stream_labels[:count]):
        outputs = student.forward(x[None], training=True)
        loss, grad_outputs = losses.softmax_cross_entropy(outputs, [int(label)])
        student.backward(grad_outputs, need_grad_inputs=False)
        optimizer.step(student.params, student.grads)
        losses_here.append(loss)

weights_here = np.concatenate([student.params["0.weight"], student.params["2.weight"]])
print(f"largest difference of a loss: {np.abs(chip_losses - losses_here).max():.1e}")
print(f"largest difference of a bucket: {np.abs(chip_weights - weights_here).max():.1e}")
assert np.abs(chip_losses - losses_here).max() < 1e-3 and np.abs(chip_weights - weights_here).max() < 1e-3

# %% [markdown]
# The left panel lays Python's losses (averaged over 25 steps) over the chip's: one line hides the other. On
# the right are the buckets of the hidden layer before and after. The chip has moved all of them.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
window = np.ones(25) / 25
where = "chip" if ON_CHIP else "C on the host"
left.plot(np.convolve(chip_losses, window, "valid"), color=figures.COLORS[5], linewidth=5, label=where)
left.plot(np.convolve(losses_here, window, "valid"), color="black", linestyle="--", label="Python")
left.set(xlabel="step", ylabel="loss, mean of 25 steps", ylim=(0, None))
left.legend()
before = new_network().params["0.weight"]
right.plot(before, chip_weights[:200], ".", color=figures.COLORS[0])
right.axline((0, 0), slope=1, color="black", linewidth=0.8, linestyle=":")
right.set(xlabel="bucket before", ylabel="bucket after")
plt.show()
assert (before != chip_weights[:200]).all()

# %% [markdown]
# What the chip learned can be read out, kept, and used elsewhere. Loaded into a network in Python, its
# buckets classify the 10,000 test digits, none of which the chip has seen.

# %%
learned = new_network()
error_before = np.mean(learned.predict(test).argmax(axis=1) != test_labels)
learned.params["0.weight"][...], learned.params["2.weight"][...] = np.split(chip_weights, [BUCKETS[0]])
error_after = np.mean(learned.predict(test).argmax(axis=1) != test_labels)
print(f"test error {100 * error_before:.0f} % before, {100 * error_after:.0f} % after {steps} steps")
assert error_after < error_before - (0.1 if FAST else 0.3)

# %% [markdown]
# ## A longer life
#
# In flash there is room for some hundred digits, but a chip with a sensor sees new ones all the time. A
# hundred steps take the simulator seconds, so the long run is done by the same `model.c`, compiled for this
# computer as a library: four times over the 10,000 digits for training. Beside it goes the largest dense
# network that learns in the same RAM. It is 64-4-10: 310 numbers, and four hidden units. One start says
# little about so small a network, so each is trained from five.

# %%
POINTER = ctypes.POINTER(ctypes.c_float)


def learn_in_c(network, where, seen):
    """Train by single steps of the exported C; return the error on 2,000 test digits at the steps `seen`."""
    report = to_c(network, where, training=True)
    assert report.ram + 4 * 64 + STACK < RAM  # with the input `x`: it fits the chip
    command = [HOST, "-O2", "-shared", "-fPIC", "-o", "model.so", "model.c", "-lm"]
    subprocess.run(command, cwd=where, check=True)
    library = ctypes.CDLL(str(where / "model.so"))
    ctypes.c_float.in_dll(library, "model_learning_rate").value = RATE
    found = []
    for step in range(max(seen) + 1):
        if step in seen:
            answers = [library.model_classify(x.ctypes.data_as(POINTER)) for x in test[:2000]]
            found.append(np.mean(answers != test_labels[:2000]))
        row = step % len(stream)
        library.model_train_step(stream[row].ctypes.data_as(POINTER), int(stream_labels[row]))
    return found


seen = [100, 200, 500, 1000, 2000] + ([] if FAST else [5000, 10_000, 20_000, 40_000])
seeds = range(1, 3 if FAST else 6)
shapes = {"hashed 64-24-10, 1,120 bytes": BUCKETS, "dense 64-4-10, 1,240 bytes": None}
errors_of = {}
for name, buckets in shapes.items():
    runs = []
    for seed in seeds:
        units = 24 if buckets else 4
        network_c = mlp([64, units, 10], num_buckets=buckets, input_scale=1/255, seed=seed)
        assert f"{network_c.nbytes:,} bytes" in name
        runs.append(learn_in_c(network_c, folder / f"{name[:6].strip()}{seed}", seen))
    errors_of[name] = 100 * np.array(runs)

for name, errors_c in errors_of.items():
    for place in (seen.index(1000), -1):
        column = errors_c[:, place]
        print(f"{name}: {np.median(column):.0f} % after {seen[place]:,} digits, "
              f"from {column.min():.0f} to {column.max():.0f}")

hashed_c, dense_c = errors_of.values()
thousand = seen.index(1000)
assert hashed_c[:, thousand].max() < dense_c[:, thousand].min()
assert FAST or hashed_c[:, -1].max() > dense_c[:, -1].min()  # in the end the two overlap

# %% [markdown]
# The lines are the medians of the test error over the digits seen, the bands go from the best to the worst
# of the five. The hashed network learns faster: after 1,000 digits its worst run is better than the best
# dense one. Its 24 hidden units share their weights, and have something to say from the start. In the end
# the bands overlap. The hashed median is still the lower one, but there are starts from which the dense
# network is as good or better. Nor does an error only fall, as steps of a constant size on single examples
# do not come to rest; half the rate ends lower for both.
#
# (The chip's own buckets had an error of 34 % after 1,000 steps, the curve of the same start has 41 % there.
# It is counted on the first 2,000 test digits, which are harder: the chip's have 40 % on those.)

# %%
figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
for (name, errors_c), color, style in zip(errors_of.items(), figures.COLORS, ("o-", "s--")):
    axes.plot(seen, np.median(errors_c, axis=0), style, color=color, label=name)
    axes.fill_between(seen, errors_c.min(axis=0), errors_c.max(axis=0), color=color, alpha=0.2, linewidth=0)
axes.set(xscale="log", xlabel="digits seen, one at a time", ylabel="test error (%)", ylim=(0, 100))
axes.legend()
plt.show()

# %% [markdown]
# ## Exercises
#
# `check(number, answer)` says whether an answer is right. It knows salted hashes of the numbers, not the
# numbers.
#
# 1. The network of [docs/embedded.md](../docs/embedded.md) is 784-384-10 at 1/6, with hashed biases and 4
#    bits a bucket. How many bytes of weights does `to_c` report (two codes a byte, without scales)? (A layer
#    has `round(compression · out · columns)` buckets.)
# 2. How many hashes does the hidden layer of 784-100-10 make for the first test digit? Count the biases,
#    which are a column of $V$ too.
# 3. Momentum keeps a velocity for every parameter, and one more float; 64-24-10 as above no longer fits. How
#    many buckets may the hidden layer have at most, with momentum, if the variables of `model.c`, the input
#    `x` (64 floats) and 200 bytes of stack are to fit 2,048 bytes? The output layer keeps its 80. (Take the
#    variables from the report, 1,436 bytes without momentum: the linker drops 40 of them here, an array that
#    nobody uses.)
# 4. And without momentum, counted in the same way?
# 5. How few bits would do? Write a function that takes a float network and returns a copy whose hashed
#    layers have at most 7 different weights each (3 bits), and loses less than two points of accuracy
#    without any training. `choose_scale` and `quantized` take any number of bits.

# %%
ANSWERS = {1: "3d1caba210ba", 2: "cc55d9faf623", 3: "5887d8414ef3", 4: "1ee72439de92"}


def salted(number, answer):
    return sha256(f"minihash 07 {number} {float(answer):.6g}".encode()).hexdigest()[:12]


def check(number, answer):
    if answer is None:
        return print(f"exercise {number}: no answer yet")
    try:
        right = salted(number, answer) == ANSWERS[number]
    except (TypeError, ValueError):  # not a number
        right = False
    print(f"exercise {number}: {'right' if right else 'not yet'}")


def check_bits(rounded):
    """Exercise 5: what your function made of `network`."""
    if rounded is None:
        return print("exercise 5: no answer yet")
    try:
        levels = [np.unique(array).size for array in rounded.params.values()]
        lost = minihash.evaluate(rounded, digits.test)["error"] - errors["float32"]
    except Exception as error:
        return print(f"exercise 5: not yet: {error!r}")
    print(f"exercise 5: {'right' if max(levels) <= 7 and lost < 0.02 else 'not yet'}: "
          f"{levels} different weights, {100 * lost:.2f} points lost")


for exercise in (1, 2, 3, 4):
    check(exercise, None)
check_bits(None)
