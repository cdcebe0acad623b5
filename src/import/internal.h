/* internal.h - private to src/import: the state of one import, the graph while it is built
 * (convolutions still in Keras's own layout, vectors in double precision), and the calls between
 * the files. All memory of an import hangs on its context and goes with it. Single-threaded. */
#ifndef IMPORT_INTERNAL_H
#define IMPORT_INTERNAL_H

#include <hdf5.h>
#include <jansson.h>

#include "base/base.h"
#include "import/codes.h"
#include "import/import.h"
#include "model/model.h"

/* ---- limits, each with its reason ---- */
#define IMPORT_CONFIG_LIMIT   ((uint64_t)64 << 20) /* config.json: NASNetLarge's has 0.6 MB */
#define IMPORT_METADATA_LIMIT ((uint64_t)1 << 20)
#define IMPORT_CARD_LIMIT     ((size_t)16 << 20) /* --classes */
#define IMPORT_NEST_LIMIT     16                 /* models in models */
#define IMPORT_NAME_LIMIT     1024               /* of a layer, with its outer models */
#define IMPORT_WEIGHT_LIMIT   ((size_t)1 << 30)  /* elements of one array: 4 GiB of floats */
#define IMPORT_FALLBACK_LINKS 65536              /* groups looked at when names do not fit */

#define TRY(expression)                                                                            \
    do {                                                                                           \
        dermis_status try_status_ = (expression);                                                  \
        if (try_status_ != DERMIS_OK)                                                              \
            return try_status_;                                                                    \
    } while (0)

/* ---- the graph while it is built ---- */

typedef struct ir_node {
    model_op op;
    const char *name;
    uint32_t *inputs;
    uint32_t input_count;
    model_attributes at;
    model_shape out;
    float *weight; /* conv [kh][kw][in/groups][out]; depthwise [kh][kw][in][multiplier];
                      PReLU's alpha */
    size_t weight_count;
    double *scale, *shift; /* affine, layer normalisation (gamma, beta): [out.c], or NULL */
    double *bias;          /* convolutions: [out.c], or NULL */
    double *fold;          /* convolutions: t of z = s x + t, or NULL */
    double *bn_mean;       /* affine of a BatchNormalization: its moving mean (for a warning) */
    bool own_activation;   /* an activation that is an argument of its layer */
    bool dead;
} ir_node;

typedef struct ir_layer { /* what becomes a model_layer */
    const char *name;
    uint32_t node; /* the convolution */
    bool own_activation;
    const struct import_layer *layer;
    uint64_t key; /* which call: the last one counts */
} ir_layer;

/* A tensor as Keras sees it: rank without the batch. 1: (C), 2: (N, C) as 1 x N x C, 3: (H, W, C).
 * A plane is (H, W), what x[..., 0] leaves of a picture, kept as H x W x 1. */
#define IMPORT_RANK_PLANE 4
typedef struct import_tensor {
    uint32_t node;
    int rank;
} import_tensor;

typedef struct import_context {
    const import_options *options;
    dermis_error *err;
    void **blocks; /* everything allocated by import_new */
    size_t block_count, block_room;
    ir_node *nodes;
    uint32_t node_count, node_room;
    ir_layer *layers;
    uint32_t layer_count, layer_room;
    uint32_t output; /* the answer's node */
    int keras_major; /* 2 or 3 */
    char keras_version[32];
    char name[128];
    json_t *keep;         /* config.c: JSON made on the way */
    json_t *config;       /* the whole model: {"class_name", "config"} */
    hid_t file;           /* HDF5 with the weights */
    bool legacy;          /* weights under model_weights/<layer>, not layers/<class>_<n> */
    const char *names_of; /* weights.c: the group whose list of names was read last */
    char **names;
    size_t names_count;
    const char *card_license; /* classes.c: "license" of the card, or NULL */
    const char *warnings[MODEL_MAX_WARNINGS]; /* those past them are only told */
    uint32_t warning_count;
    uint64_t parameters;
    uint32_t keras_layers, order;
    uint64_t calls; /* work done, against graphs that multiply by nesting */
    double fraction;
    int nest;
} import_context;

dermis_status import_fail(import_context *c, dermis_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void *import_new(import_context *c, size_t count, size_t bytes); /* zeroed; NULL: err is filled */
char *import_text(import_context *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *import_text_long(import_context *c, const char *text); /* a copy of any length */
/* To the caller, and into the model file: whoever uses it later has to know too. */
void import_warn(import_context *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void import_progress(import_context *c, double fraction, const char *stage);
/* Makes the text one that a model file may hold: UTF-8 without control characters. */
void import_clean(char *text);

/* ---- container.c: bytes to config and an open HDF5 file ---- */

dermis_status import_container_open(import_context *c);
void import_container_close(import_context *c);

/* ---- weights.c: arrays out of HDF5 ---- */

typedef struct import_layer import_layer;

dermis_status import_hdf5_init(import_context *c);
/* Opens `path` for reading; `shown` is named in errors. */
dermis_status import_hdf5_open(import_context *c, const char *path, const char *shown);
/* The same from memory, which must live as long as the file is open and is not copied. */
dermis_status import_hdf5_open_memory(import_context *c, void *data, size_t size,
                                      const char *shown);
/* A string attribute of the root, NULL where there is none (or it is no string). */
char *import_hdf5_text(import_context *c, const char *attribute, size_t limit);
bool import_hdf5_exists(import_context *c, const char *path); /* by hard links only */
/* The array `index` ("kernel" ...) of a layer, which must have `count` elements, as float32. */
dermis_status import_weight(import_context *c, const import_layer *layer, unsigned index,
                            const char *variable, size_t count, float **out);
dermis_status import_weight_double(import_context *c, const import_layer *layer, unsigned index,
                                   const char *variable, size_t count, double **out);
bool import_weight_there(import_context *c, const import_layer *layer, unsigned index,
                         const char *variable);

/* ---- config.c: layers, calls ---- */

struct import_model;

struct import_layer {
    const char *class_name; /* without a package's prefix */
    const char *name;
    const char *path;  /* "outer/inner" */
    json_t *config;    /* never NULL: an object */
    json_t *inbound;   /* array, or NULL */
    const char *group; /* of its weights: layers/<class>_<n>, or model_weights/<top layer> */
    bool operation;    /* a bare operation of keras.ops, not a layer */
    uint32_t order;    /* place in the model's own order of layers, nested ones entered */
    const char *outer; /* legacy: name of the model it is nested in, NULL at the top */
    struct import_model *model; /* nested model, or NULL */
    uint32_t call_base;         /* number of its first call: 1 for nested models of Keras 2 */
};

typedef struct import_frame import_frame; /* one call of one model */

typedef struct import_call {
    import_context *c;
    const import_layer *layer;
    json_t *config;
    import_tensor *in; /* the tensors among the arguments, in order */
    uint32_t in_count;
    json_t *args;   /* array of positional arguments, as they stand in the file */
    json_t *kwargs; /* object or NULL */
    import_frame *frame;
    uint64_t key;
} import_call;

/* Builds the whole graph. */
dermis_status import_build(import_context *c);
/* Whether `value` refers to a tensor (then *out is it), in an argument of `call`. */
bool import_is_tensor(const import_call *call, json_t *value, import_tensor *out);

/* Keras's name of a class in lower case: MaxPooling2D -> max_pooling2d. */
void import_snake_case(const char *name, char *out, size_t room);

/* ---- ir.c ---- */

/* Appends a node with `count` inputs and the output shape `out` (checked). */
dermis_status import_ir_append(import_context *c, model_op op, const char *name,
                               const import_tensor *inputs, uint32_t count, model_attributes at,
                               model_shape out, uint32_t *node);
model_shape import_ir_shape(const import_context *c, import_tensor t);
dermis_status import_ir_activation(const import_call *call, import_tensor in, model_activation a,
                                   bool own, import_tensor *out);
/* scale, shift: [channels] (kept, not copied) or NULL. */
dermis_status import_ir_affine(import_context *c, const char *name, import_tensor in, double *scale,
                               double *shift, import_tensor *out);
/* The same number for all channels. */
dermis_status import_ir_affine_all(import_context *c, const char *name, import_tensor in,
                                   double scale, double shift, import_tensor *out);
dermis_status import_ir_binary(const import_call *call, int32_t kind, import_tensor a,
                               import_tensor b, import_tensor *out);
dermis_status import_ir_reshape(const import_call *call, import_tensor in, model_shape to, int rank,
                                import_tensor *out);
dermis_status import_ir_slice(const import_call *call, import_tensor in, const int32_t start[3],
                              const int32_t step[3], const uint32_t extent[3], import_tensor *out);
dermis_status import_ir_global_pool(const import_call *call, import_tensor in, int32_t kind,
                                    bool keepdims, import_tensor *out);
dermis_status import_ir_concat(const import_call *call, const import_tensor *in, uint32_t count,
                               int axis, import_tensor *out);

/* ---- arguments of layers ---- */

/* Each fails with a text that names layer and argument where the value has another kind. */
dermis_status import_arg_int(const import_call *call, const char *key, int32_t fallback,
                             int32_t minimum, int32_t maximum, int32_t *out);
dermis_status import_arg_pair(const import_call *call, const char *key, int32_t fallback,
                              int32_t minimum, int32_t maximum, int32_t out[2]);
dermis_status import_arg_number(const import_call *call, const char *key, double fallback,
                                double *out);
bool import_arg_bool(const import_call *call, const char *key, bool fallback);
const char *import_arg_text(const import_call *call, const char *key, const char *fallback);
/* Plain JSON list of a list, a tuple or an array as Keras 3 writes them; NULL for others.
 * A borrowed reference. */
json_t *import_arg_list(json_t *value);
bool import_arg_is_number(json_t *value, double *out); /* also Keras 3's wrapped scalars */
dermis_status import_arg_channels_last(const import_call *call);
dermis_status import_arg_unsupported(const import_call *call, const char *what);

/* ---- activations.c ---- */

/* `value`: a name, or an object as Keras serialises functions and layers; NULL or null: linear. */
dermis_status import_activation_parse(const import_call *call, json_t *value,
                                      model_activation *out);
/* `activation` of the layer's config behind `in`. */
dermis_status import_activation_own(const import_call *call, import_tensor in, import_tensor *out);
dermis_status import_activation_layer(import_call *call, import_tensor *out);
bool import_activation_named(import_context *c, const char *name, model_activation *out);

/* ---- layers: class name to the function that emits its nodes ---- */

typedef dermis_status (*import_emit)(import_call *call, import_tensor *out);
typedef struct import_entry {
    const char *class_name;
    import_emit emit;
} import_entry;
dermis_status import_concat(const import_call *call, const import_tensor *in, uint32_t count,
                            double axis, import_tensor *out);
dermis_status import_reshape_to(const import_call *call, import_tensor in, json_t *list,
                                import_tensor *out);
dermis_status import_vector(const import_call *call, json_t *value, uint32_t n, double fallback,
                            double **out);
extern const import_entry import_layers_conv[], import_layers_shape[], import_layers_math[],
    import_layers_op[]; /* each ends with a NULL name */
/* Whether a class of Keras 3 can be a bare operation (some layers have the same names). */
bool import_is_operation(import_context *c, const char *class_name);
dermis_status import_emit_layer(import_call *call, import_tensor *out);
/* Operation nodes of Keras 3 (class as in keras.src.ops) and TFOpLambda of Keras 2. */
dermis_status import_note_layer(import_call *call, uint32_t node, bool own_activation);

/* ---- lower.c, finish.c, classes.c, sha256.c ---- */

dermis_status import_lower(import_context *c);
dermis_status import_check_scaling(import_context *c, import_tensor input); /* warns */
dermis_status import_preprocess(import_context *c, const char *how, import_tensor *input);
dermis_status import_finish(import_context *c, import_summary *summary);
dermis_status import_classes_read(import_context *c, const char *text, const char ***names,
                                  uint32_t *count, const char **card);
dermis_status import_sha256_file(import_context *c, const char *path, char hex[65]);

#endif
