/* ops.c - the table of operators and their attributes: reader, writer, checks, inspect and the
 * documentation take names, kinds, order and ranges from here. */
#include "model/model.h"

#include <string.h>

#define EXTENT ((int32_t)MODEL_MAX_EXTENT)
#define KERNEL 4096 /* extent of a kernel, stride, dilation or padding: far above any in use */

#define INT(name, member, lo, hi)                                                                  \
    {name, false, (uint16_t)offsetof(model_attributes, member), lo, hi}
#define FLOAT(name, member) {name, true, (uint16_t)offsetof(model_attributes, member), 0, 0}

static const model_attribute input_attributes[] = {
    INT("h", input.h, 1, EXTENT), INT("w", input.w, 1, EXTENT), INT("c", input.c, 1, EXTENT)};

static const model_attribute conv_attributes[] = {
    INT("kernel_h", conv.kernel_h, 1, KERNEL),
    INT("kernel_w", conv.kernel_w, 1, KERNEL),
    INT("stride_h", conv.stride_h, 1, KERNEL),
    INT("stride_w", conv.stride_w, 1, KERNEL),
    INT("dilation_h", conv.dilation_h, 1, KERNEL),
    INT("dilation_w", conv.dilation_w, 1, KERNEL),
    INT("pad_top", conv.pad_top, 0, KERNEL),
    INT("pad_left", conv.pad_left, 0, KERNEL),
    INT("pad_bottom", conv.pad_bottom, 0, KERNEL),
    INT("pad_right", conv.pad_right, 0, KERNEL),
    INT("groups", conv.groups, 1, EXTENT),
    INT("out_c", conv.out_c, 1, EXTENT),
    INT("activation", conv.activation, 0, 24), /* element-wise kinds: below KERNELS_ACT_SOFTMAX */
    INT("residual", conv.residual, 0, 2),
    FLOAT("activation_p0", conv.activation_p0),
    FLOAT("activation_p1", conv.activation_p1),
    FLOAT("activation_p2", conv.activation_p2)};

static const model_attribute pool_attributes[] = {
    INT("kind", pool.kind, 0, 1),
    INT("kernel_h", pool.kernel_h, 1, KERNEL),
    INT("kernel_w", pool.kernel_w, 1, KERNEL),
    INT("stride_h", pool.stride_h, 1, KERNEL),
    INT("stride_w", pool.stride_w, 1, KERNEL),
    INT("pad_top", pool.pad_top, 0, KERNEL),
    INT("pad_left", pool.pad_left, 0, KERNEL),
    INT("pad_bottom", pool.pad_bottom, 0, KERNEL),
    INT("pad_right", pool.pad_right, 0, KERNEL)};

static const model_attribute global_pool_attributes[] = {INT("kind", global_pool.kind, 0, 1)};
static const model_attribute binary_attributes[] = {INT("kind", binary.kind, 0, 5)};
static const model_attribute activation_attributes[] = {
    INT("kind", activation.kind, 0, 27), FLOAT("p0", activation.p0), FLOAT("p1", activation.p1),
    FLOAT("p2", activation.p2)};
static const model_attribute layernorm_attributes[] = {FLOAT("epsilon", layernorm.epsilon)};
static const model_attribute concat_attributes[] = {INT("axis", concat.axis, 0, 2)};
static const model_attribute pad_attributes[] = {
    INT("top", pad.top, 0, EXTENT), INT("left", pad.left, 0, EXTENT),
    INT("bottom", pad.bottom, 0, EXTENT), INT("right", pad.right, 0, EXTENT),
    FLOAT("value", pad.value)};
static const model_attribute slice_attributes[] = {
    INT("start_h", slice.start_h, 0, EXTENT),     INT("start_w", slice.start_w, 0, EXTENT),
    INT("start_c", slice.start_c, 0, EXTENT),     INT("step_h", slice.step_h, -EXTENT, EXTENT),
    INT("step_w", slice.step_w, -EXTENT, EXTENT), INT("step_c", slice.step_c, -EXTENT, EXTENT),
    INT("h", slice.h, 1, EXTENT),                 INT("w", slice.w, 1, EXTENT),
    INT("c", slice.c, 1, EXTENT)};
static const model_attribute resize_attributes[] = {
    INT("kind", resize.kind, 0, 1), INT("h", resize.h, 1, EXTENT), INT("w", resize.w, 1, EXTENT)};
static const model_attribute reshape_attributes[] = {
    INT("h", reshape.h, 1, EXTENT), INT("w", reshape.w, 1, EXTENT), INT("c", reshape.c, 1, EXTENT)};

#define ROW(name, list) {name, list, sizeof list / sizeof *list}
static const struct {
    const char *name;
    const model_attribute *attributes;
    size_t count;
} table[MODEL_OP_COUNT] = {
    [MODEL_INPUT] = ROW("input", input_attributes),
    [MODEL_CONV] = ROW("conv", conv_attributes),
    [MODEL_DEPTHWISE] = ROW("depthwise", conv_attributes),
    [MODEL_POOL] = ROW("pool", pool_attributes),
    [MODEL_GLOBAL_POOL] = ROW("global_pool", global_pool_attributes),
    [MODEL_BINARY] = ROW("binary", binary_attributes),
    [MODEL_AFFINE] = {"affine", NULL, 0},
    [MODEL_ACTIVATION] = ROW("activation", activation_attributes),
    [MODEL_PRELU] = {"prelu", NULL, 0},
    [MODEL_LAYERNORM] = ROW("layernorm", layernorm_attributes),
    [MODEL_CONCAT] = ROW("concat", concat_attributes),
    [MODEL_PAD] = ROW("pad", pad_attributes),
    [MODEL_SLICE] = ROW("slice", slice_attributes),
    [MODEL_RESIZE] = ROW("resize", resize_attributes),
    [MODEL_RESHAPE] = ROW("reshape", reshape_attributes),
};

const char *model_op_name(model_op op)
{
    return (unsigned)op < MODEL_OP_COUNT ? table[op].name : "unknown";
}

bool model_op_parse(const char *name, model_op *out)
{
    for (int i = 0; i < MODEL_OP_COUNT; i++)
        if (strcmp(name, table[i].name) == 0) {
            *out = (model_op)i;
            return true;
        }
    return false;
}

const model_attribute *model_op_attributes(model_op op, size_t *count)
{
    *count = table[op].count;
    return table[op].attributes;
}
