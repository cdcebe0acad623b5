/* dermis.h - the public face: open a model, open a session, classify, explain, report memory.
 *
 * A dermis_model is an immutable mapped file, shared by any number of threads. A dermis_session is
 * mutable, used by one thread at a time, and owns one arena whose size is known before it is
 * allocated. Functions that can fail return a status, fill `err` (NULL allowed) and leave outputs
 * untouched. Strings and arrays that a getter returns live as long as the object asked. */
#ifndef DERMIS_H
#define DERMIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/dermis_status.h"

#if defined(__GNUC__)
#define DERMIS_API __attribute__((visibility("default")))
#else
#define DERMIS_API
#endif

DERMIS_API const char *dermis_version(void);
/* Levels of instruction sets, lowest first; NULL past the last. `available`: on this machine. */
DERMIS_API const char *dermis_cpu_level(unsigned index, bool *available);

/* ---- model ---- */

typedef struct dermis_model dermis_model;

DERMIS_API dermis_status dermis_model_open(const char *path, dermis_model **out, dermis_error *err);
DERMIS_API void dermis_model_close(dermis_model *model); /* after its sessions */

typedef struct dermis_model_info {
    const char *name, *source, *source_sha256, *preprocess, *license; /* NULL where unknown */
    const char *class_card;                     /* JSON, or NULL */
    uint32_t input_height, input_width, input_channels; /* channels 3 (RGB) or 1 (luma) */
    uint32_t class_count;                       /* at least 1; see dermis_model_class */
    uint32_t warning_count;                     /* see dermis_model_warning */
    const char *cam_layer;                      /* default of explanations, or NULL */
    const char *weight_type;                    /* "f32", "f16" */
    size_t file_bytes, weight_bytes;
    uint64_t macs, parameters;                  /* of one forward pass */
} dermis_model_info;
DERMIS_API void dermis_model_get_info(const dermis_model *model, dermis_model_info *out);
/* Name of class `index`, "class N" where the model does not name it. */
DERMIS_API const char *dermis_model_class(const dermis_model *model, uint32_t index);
/* What the conversion had to say about the model (answers that may be wrong, and what to do): one line,
 * as the file has it. */
DERMIS_API const char *dermis_model_warning(const dermis_model *model, uint32_t index);
/* Index of a class by its name (exact, else ignoring ASCII case) or by its number; -1: none. */
DERMIS_API int32_t dermis_model_find_class(const dermis_model *model, const char *name);

/* ---- session ---- */

typedef struct dermis_session dermis_session;

typedef struct dermis_options {
    unsigned threads;         /* 0: as many as CPUs may be used */
    const char *cpu;          /* "scalar", "avx2", "avx512" caps it; NULL: DERMIS_CPU or the best */
    bool explain;             /* plan for explanations */
    const char *layer;        /* explained layer, NULL: the model's default */
    size_t memory_bytes;      /* budget for arena and decoding; 0: none */
} dermis_options;

DERMIS_API void dermis_options_default(dermis_options *out);
DERMIS_API dermis_status dermis_session_open(dermis_model *model, const dermis_options *options,
                                             dermis_session **out, dermis_error *err);
DERMIS_API void dermis_session_close(dermis_session *session);
/* What decoding may take from now on, the arena not counted; 0: no limit. */
DERMIS_API void dermis_session_limit_decoding(dermis_session *session, size_t bytes);

typedef struct dermis_memory {
    size_t activation_bytes, gradient_bytes, scratch_bytes, arena_bytes; /* of the session */
    size_t weight_bytes;                  /* mapped, shared */
    size_t resident_bytes, peak_resident_bytes; /* of the process, now and at most */
} dermis_memory;
DERMIS_API void dermis_session_memory(const dermis_session *session, dermis_memory *out);
DERMIS_API const char *dermis_session_cpu(const dermis_session *session); /* level in use */
DERMIS_API unsigned dermis_session_threads(const dermis_session *session);

/* One row of the plan, for tables of layers. */
typedef struct dermis_step {
    const char *name, *op;
    uint32_t height, width, channels;
    uint64_t macs;
    size_t weight_bytes, arena_offset, arena_bytes;
} dermis_step;
DERMIS_API unsigned dermis_session_steps(const dermis_session *session);
DERMIS_API void dermis_session_step(const dermis_session *session, unsigned step, dermis_step *out);

/* ---- photograph to answer ---- */

typedef struct dermis_photo {
    const char *format;           /* "jpeg", "png", "webp" */
    uint32_t width, height;       /* after orientation */
    size_t memory_bytes;          /* what decoding takes, known from the header */
    size_t overlay_bytes;         /* what dermis_overlay_write takes for it */
} dermis_photo;

/* What a photograph may be at most; past it DERMIS_E_PICTURE_LIMIT. */
typedef struct dermis_limits {
    uint64_t pixels;
    uint32_t side;       /* pixels */
    size_t bytes;        /* of the file */
    unsigned scans;      /* of a JPEG */
    size_t memory_bytes; /* of decoding, where no budget is given */
} dermis_limits;
DERMIS_API void dermis_photo_limits(dermis_limits *out);

/* A part of a photograph: pixels after orientation; width or height 0: the whole. One that does not lie
 * within the photograph is DERMIS_E_USAGE. */
typedef struct dermis_crop {
    uint32_t x, y, width, height;
} dermis_crop;

/* Header only; memory_bytes is the decoder's, without the resize. */
DERMIS_API dermis_status dermis_photo_probe(const void *data, size_t size, dermis_photo *out,
                                            dermis_error *err);
/* A photograph to keep: written anew as baseline JPEG, upright, reduced, without any metadata. */
typedef struct dermis_copy {
    uint32_t max_side;      /* of the longer side, pixels; never enlarged; 0: as it is */
    int quality;            /* 1..100 */
    FILE *out;              /* on failure what stands there is to be thrown away */
    uint32_t width, height; /* filled: what was written */
} dermis_copy;
#define DERMIS_MAX_COPIES 4

/* Header only; memory_bytes is what dermis_session_load with these copies will take for a session of
 * this model (NULL: for the copies alone). */
DERMIS_API dermis_status dermis_model_probe(const dermis_model *model, const void *data, size_t size,
                                            const dermis_crop *crop, const dermis_copy *copies, unsigned count,
                                            dermis_photo *out, dermis_error *err);
/* Decodes into the session's input tensor; bytes as Pillow gives after exif_transpose,
 * convert('RGB'), crop and resize(LANCZOS). `crop` NULL: the whole; `photo` may be NULL. In the same
 * pass it writes `count` copies (at most DERMIS_MAX_COPIES), each made from the one before it. */
DERMIS_API dermis_status dermis_session_load(dermis_session *session, const void *data, size_t size,
                                             const dermis_crop *crop, dermis_copy *copies, unsigned count,
                                             dermis_photo *photo, dermis_error *err);
/* The copies alone; memory_bytes: what that may take, 0: the limit of dermis_photo_limits. */
DERMIS_API dermis_status dermis_photo_write(const void *data, size_t size, const dermis_crop *crop,
                                            dermis_copy *copies, unsigned count, size_t memory_bytes,
                                            dermis_error *err);
/* The input tensor itself, float32 [height][width][channels] 0..255: read it after load, or fill it
 * in load's place. Runs keep it whole. */
DERMIS_API float *dermis_session_input(dermis_session *session);

/* Forward pass. Does not allocate and cannot fail. Probabilities [class_count] until the next run:
 * with one output p of the network, two classes: 1 - p, p (one class named: p alone). */
DERMIS_API const float *dermis_session_run(dermis_session *session);
/* The same; step_ms [steps] takes milliseconds. */
DERMIS_API const float *dermis_session_run_timed(dermis_session *session, double *step_ms);
/* After a run: DERMIS_E_MODEL_INVALID when the answer is not finite, as with damaged weights (opening
 * a model does not read them) or a model in which numbers overflow; DERMIS_E_MODEL_CHANGED when the
 * model's file was written to. */
DERMIS_API dermis_status dermis_session_check(const dermis_session *session, dermis_error *err);
/* Indices of the `n` most likely classes, highest first; returns how many. */
DERMIS_API uint32_t dermis_session_top(const dermis_session *session, uint32_t n, uint32_t *out);

typedef enum dermis_score { DERMIS_SCORE_PROBABILITY, DERMIS_SCORE_LOGIT } dermis_score;

typedef struct dermis_map {
    const float *values;    /* [height][width] 0..1, until the next run or explain */
    uint32_t height, width;
    bool blank;             /* nothing moved the score: all zeros */
    const char *layer, *method; /* "grad-cam" */
    uint32_t class_index;
} dermis_map;
/* After a run. DERMIS_E_USAGE when the session was not opened with `explain`. Does not allocate. */
DERMIS_API dermis_status dermis_session_explain(dermis_session *session, uint32_t class_index,
                                                dermis_score score, dermis_map *out,
                                                dermis_error *err);

/* ---- overlay ---- */

typedef struct dermis_overlay {
    const char *colormap; /* "jet", "turbo", "viridis", "inferno" */
    float alpha;          /* 0..1, of the heat */
    bool jpeg;            /* else PNG */
    size_t memory_bytes;  /* budget for decoding; 0: none */
} dermis_overlay;
DERMIS_API void dermis_overlay_default(dermis_overlay *out); /* jet, 0.4, PNG */
/* The heat map over the photograph, at the photograph's size. */
DERMIS_API dermis_status dermis_overlay_write(const void *data, size_t size, const dermis_map *map,
                                              const dermis_overlay *options, FILE *out,
                                              dermis_error *err);

/* The colours of a map alone, as PNG with a palette: to be laid over the photograph by who shows it.
 * width, height: 1..4096 pixels. */
DERMIS_API dermis_status dermis_heat_write(const dermis_map *map, const char *colormap, uint32_t width,
                                           uint32_t height, FILE *out, dermis_error *err);

/* ---- the model's card: what it says of itself and its classes, in several languages ---- */

typedef struct dermis_card dermis_card;
/* Of dermis_model_info.class_card; NULL where there is none to read. Everything below takes NULL. Texts
 * are the card's, in `language` ("en", "vi"), else in English, else in any; NULL: there is none. A text
 * with control characters counts as none: a card comes with a model from outside. */
DERMIS_API dermis_card *dermis_card_read(const char *json);
DERMIS_API void dermis_card_free(dermis_card *card);
DERMIS_API const char *dermis_card_name(const dermis_card *card, uint32_t index, const char *language);
/* `what`: "text", "urgency_text", "doctor". */
DERMIS_API const char *dermis_card_class_text(const dermis_card *card, uint32_t index, const char *what,
                                              const char *language);
/* "days", "weeks", "watch", "harmless". */
DERMIS_API const char *dermis_card_urgency(const dermis_card *card, uint32_t index);
/* Of the model: "knows", "never", "license", "attribution", "limits". */
DERMIS_API const char *dermis_card_about(const dermis_card *card, const char *key, const char *language);

#endif
