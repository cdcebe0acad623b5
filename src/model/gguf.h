/* gguf.h - private to model/: what reader and writer of the file share. docs/model-format.md. */
#ifndef MODEL_GGUF_H
#define MODEL_GGUF_H

#include "model/model.h"

#define GGUF_MAGIC     0x46554747u /* "GGUF" */
#define GGUF_VERSION   3u
#define GGUF_ALIGNMENT 64u
#define DERMIS_FORMAT  1u /* dermis.format_version */

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

enum ggml_type { GGML_F32 = 0, GGML_F16 = 1 };

extern const char *const model_role_names[MODEL_ROLE_COUNT]; /* "weight", "bias", ... */

/* Whether reader and writer take `n` bytes of text: UTF-8 of at most `most` bytes; without control
 * characters (terminals obey them) unless it is a whole document, `most` being MODEL_MAX_TEXT. */
bool model_text_valid(const char *text, size_t n, size_t most);

#endif
