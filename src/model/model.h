/* model.h - the graph (operators, attributes, shape inference) and the model file (GGUF version 3;
 * docs/model-format.md): validated read-only view and writer. Does not know how it is run.
 *
 * A graph is a list of nodes in topological order; node 0 is the input, the last node's output is
 * the answer. Each node has one output of shape height x width x channels (batch is 1; a vector is
 * 1 x 1 x C, a sequence 1 x N x C). Inputs name earlier nodes only, so a cycle cannot be written. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/base.h"

#define MODEL_MAX_NODES (1u << 16)
#define MODEL_MAX_EXTENT (1u << 24)        /* of one axis */
#define MODEL_MAX_ELEMENTS ((size_t)1 << 28) /* of one activation tensor: 1 GiB of floats */
#define MODEL_MAX_CLASSES 65536
#define MODEL_MAX_INPUTS 1024              /* of one node: concatenations */
#define MODEL_MAX_WARNINGS 16
#define MODEL_MAX_NAME   1024              /* bytes: of a layer, a class, the licence */
#define MODEL_MAX_TEXT   ((size_t)1 << 20) /* bytes: of a class card, the source */

typedef struct model_shape {
    uint32_t h, w, c;
} model_shape;

typedef enum model_op {
    MODEL_INPUT,
    MODEL_CONV,       /* also Dense: a 1x1 convolution. weights: weight, bias?, shift? */
    MODEL_DEPTHWISE,  /* weights: weight, bias?, shift? */
    MODEL_POOL,
    MODEL_GLOBAL_POOL,
    MODEL_BINARY,
    MODEL_AFFINE,     /* weights: scale?, shift?, each [C] */
    MODEL_ACTIVATION,
    MODEL_PRELU,      /* weights: weight = alpha [C] or [H*W*C] */
    MODEL_LAYERNORM,  /* weights: scale? = gamma [C], bias? = beta [C] */
    MODEL_CONCAT,
    MODEL_PAD,
    MODEL_SLICE,
    MODEL_RESIZE,
    MODEL_RESHAPE,    /* free: the same elements in NHWC order */
    MODEL_OP_COUNT
} model_op;

/* Attributes. Every member is int32_t or float, so that one table (model/ops.c) describes names,
 * kinds and ranges for reader, writer, inspect and documentation. Enumerations have the values of
 * those in kernels.h (checked where nn binds them) and stand in the file as numbers. */
typedef struct model_conv {
    int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, pad_bottom, pad_right;
    int32_t groups;                        /* 1 for depthwise (its multiplier is out.c / in.c) */
    int32_t out_c;
    int32_t activation;                    /* kernels_act_kind, element-wise kinds only */
    int32_t residual;                      /* kernels_residual; not 0: inputs[1] is the residual */
    float activation_p0, activation_p1, activation_p2;
} model_conv;

typedef struct model_pool { /* kind: kernels_pool_kind */
    int32_t kind, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, pad_bottom, pad_right;
} model_pool;

typedef struct model_activation { /* also row-wise kinds (softmax ...) */
    int32_t kind;
    float p0, p1, p2;
} model_activation;

typedef union model_attributes {
    model_shape input;                                       /* MODEL_INPUT: h, w, c */
    model_conv conv;                                         /* MODEL_CONV, MODEL_DEPTHWISE */
    model_pool pool;                                         /* MODEL_POOL */
    struct { int32_t kind; } global_pool;                    /* kernels_pool_kind */
    struct { int32_t kind; } binary;                         /* kernels_binary_kind; broadcasts */
    model_activation activation;
    struct { float epsilon; } layernorm;
    struct { int32_t axis; } concat;                         /* 0 h, 1 w, 2 c */
    struct { int32_t top, left, bottom, right; float value; } pad;
    struct { int32_t start_h, start_w, start_c, step_h, step_w, step_c, h, w, c; } slice;
    struct { int32_t kind, h, w; } resize;                   /* kernels_resize_kind */
    struct { int32_t h, w, c; } reshape;
} model_attributes;

typedef enum model_type { MODEL_F32, MODEL_F16 } model_type;

/* Weights of a node by role; data NULL where absent. Layouts and lengths as in kernels.h (weight of
 * convolutions in blocks of 16, bias padded to whole blocks a group). `shift` of a convolution
 * (float32, padded as bias) is t in z = s x + t: what folding of a normalisation added to the
 * layer's own output x (s itself cancels in class activation maps). */
typedef enum model_role { MODEL_WEIGHT, MODEL_BIAS, MODEL_SCALE, MODEL_SHIFT, MODEL_ROLE_COUNT } model_role;

typedef struct model_tensor {
    model_type type;
    const void *data;
    size_t bytes;
} model_tensor;

typedef struct model_node {
    model_op op;
    const char *name; /* of the layer it came from, nested ones as "outer/inner"; not unique */
    const uint32_t *inputs;
    uint32_t input_count;
    model_attributes at;
    model_tensor tensors[MODEL_ROLE_COUNT];
    model_shape out; /* filled by model_graph_check */
} model_node;

/* A convolution layer as its Keras model knows it, in that model's own order of layers: what a
 * class activation map can be asked for. */
typedef struct model_layer {
    const char *name;
    uint32_t node;
    bool after_activation; /* its output is behind the node's fused activation (the layer's own
                              `activation=`), else before it; always before a residual that is
                              added afterwards and before a folded normalisation */
} model_layer;

typedef struct model_graph {
    model_node *nodes;
    uint32_t node_count;
    model_layer *layers;
    uint32_t layer_count;
    int32_t cam_layer;         /* default of explanations: an index of layers, or -1 */
    const char **classes;      /* names in output order */
    uint32_t class_count;      /* 0: not named */
    const char *class_card;    /* JSON with texts, translations, urgency; or NULL */
    const char *name;          /* of the model */
    const char *source;        /* provenance: file name, Keras version, ... one line */
    const char *source_sha256; /* of the file converted, hex; or NULL */
    const char *preprocess;    /* what --preprocess put in front: "none", "0..1", ... */
    const char *license;       /* or NULL */
    const char **warnings;     /* what its owner should know about its conversion, one line each */
    uint32_t warning_count;    /* at most MODEL_MAX_WARNINGS */
} model_graph;

/* ---- operators' table ---- */

const char *model_op_name(model_op op);
bool model_op_parse(const char *name, model_op *out);

typedef struct model_attribute {
    const char *name;
    bool is_float;
    uint16_t offset;          /* into model_attributes */
    int32_t minimum, maximum; /* of integers */
} model_attribute;
/* The attributes of `op` in the order in which the file holds them. */
const model_attribute *model_op_attributes(model_op op, size_t *count);

/* ---- checks ---- */

/* Validates everything (inputs before nodes, attribute ranges, shapes, lengths of weights, layers,
 * classes against the output) and fills each node's `out`. */
dermis_status model_graph_check(model_graph *graph, dermis_error *err);
/* Bytes that `role` of node `i` must have (0: may not stand there); needs `out` of its inputs. */
size_t model_tensor_bytes(const model_graph *graph, uint32_t node, model_role role,
                          model_type type);
/* Multiply-accumulates of one node. */
uint64_t model_node_macs(const model_graph *graph, uint32_t node);

/* ---- the file ---- */

typedef struct model model; /* immutable; shared by any number of threads */

dermis_status model_open(const char *path, model **out, dermis_error *err);
/* From memory that the caller keeps, aligned as base_alloc gives it (fuzzing, tests). */
dermis_status model_open_memory(const void *data, size_t size, model **out, dermis_error *err);
void model_close(model *m);
const model_graph *model_get_graph(const model *m);
size_t model_file_bytes(const model *m);
/* DERMIS_E_MODEL_CHANGED when the file was written over since it was opened. */
dermis_status model_check_unchanged(const model *m, dermis_error *err);

/* Writes a checked graph as GGUF; texts that model_open would not take are refused. */
dermis_status model_write(const model_graph *graph, const char *path, dermis_error *err);

/* ---- layouts: plain arrays to the file's blocks of 16 (see kernels.h) ---- */

/* Keras kernel [kh][kw][in_c/groups][out_c] (float32) to conv blocks; `out` has
 * model_conv_weight_count elements. */
size_t model_conv_weight_count(uint32_t kh, uint32_t kw, uint32_t in_c, uint32_t out_c,
                               uint32_t groups);
void model_conv_pack(const float *keras, uint32_t kh, uint32_t kw, uint32_t in_c, uint32_t out_c,
                     uint32_t groups, float *out);
/* Keras depthwise kernel [kh][kw][in_c][multiplier] to depthwise blocks. */
size_t model_depthwise_weight_count(uint32_t kh, uint32_t kw, uint32_t out_c);
void model_depthwise_pack(const float *keras, uint32_t kh, uint32_t kw, uint32_t in_c,
                          uint32_t multiplier, float *out);
/* A vector [out_c] to whole blocks for each group, zeros behind. */
size_t model_block_vector_count(uint32_t out_c, uint32_t groups);
void model_block_vector_pack(const float *vector, uint32_t out_c, uint32_t groups, float *out);

#endif
