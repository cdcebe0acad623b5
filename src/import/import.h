/* import.h - a Keras model (`.keras` of Keras 2 and 3, legacy HDF5) to dermis's model file.
 *
 * Reads data only: nothing of a model file is ever executed. HDF5 plug-ins, links that lead out,
 * external and virtual storage are refused. Still, libhdf5 parses bytes from outside: programs call
 * this in a process of its own (dermis-convert). One call at a time in a process (libhdf5 keeps
 * global state). */
#ifndef IMPORT_IMPORT_H
#define IMPORT_IMPORT_H

#include "model/model.h"

/* What to make of an answer whose last layer has no activation (a model trained with from_logits=True). */
typedef enum import_answer {
    IMPORT_ANSWER_AUTO,    /* softmax; of a single answer sigmoid */
    IMPORT_ANSWER_SOFTMAX, /* one class of them is right */
    IMPORT_ANSWER_SIGMOID, /* each class on its own */
    IMPORT_ANSWER_AS_IS    /* scores stay scores: percentages of them mean nothing */
} import_answer;

typedef struct import_options {
    const char *in;            /* file to read; what it is is seen from its first bytes */
    const char *out;           /* model file to write; appears whole or not at all */
    model_type type;           /* of the weights of convolutions and dense layers */
    const char *preprocess;    /* "none", "0..1", "-1..1", "caffe", "torch"; NULL: none */
    uint32_t input_h, input_w; /* for models with free size; 0: as the model says */
    import_answer answer;
    const char *classes; /* a file (lines, JSON list, JSON card) or names with commas; or NULL */
    const char *name;    /* of the model; NULL: as its file says */
    const char *license; /* or NULL */
    uint64_t entry_limit_bytes; /* of one unpacked zip entry; 0: IMPORT_ENTRY_LIMIT */
    /* May be NULL. `fraction` 0..1 never falls. `stage` is a word or two. */
    void (*progress)(void *context, double fraction, const char *stage);
    /* May be NULL. One line: the conversion goes on, but the owner should know. */
    void (*warn)(void *context, const char *text);
    void *context; /* of both */
} import_options;

#define IMPORT_ENTRY_LIMIT ((uint64_t)4 << 30) /* no image classifier comes near it */

/* What was made; for the line that a program prints. */
typedef struct import_summary {
    char model[128];     /* its name */
    char source[192];    /* "Keras 3.8.0" ... */
    char cam_layer[256]; /* default of explanations; "" where there is none */
    model_shape input;
    uint32_t outputs, nodes, keras_layers;
    uint64_t parameters, macs;
    uint64_t weight_bytes;
} import_summary;

/* `summary` may be NULL. */
dermis_status import_run(const import_options *options, import_summary *summary, dermis_error *err);

/* Whether the first bytes are of a file that import_run can read (zip or HDF5): 8 are enough. */
bool import_recognises(const void *head, size_t size);

#endif
