/* engine.c - the public face over model, nn, cam and image (dermis.h gives the contracts). */
#include "engine/dermis.h"

#include <stdlib.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "cam/cam.h"
#include "image/image.h"

struct dermis_model {
    model *file;
    const model_graph *graph;
    uint32_t outputs, classes; /* of the network; as the user sees them */
    char (*unnamed)[24];       /* "class N" for each where the model names none */
    dermis_model_info info;
};

struct dermis_session {
    dermis_model *model;
    base_pool *pool;
    nn_plan *plan;
    nn_session *run;
    float *probabilities; /* [classes] */
    float *map, *weights; /* of the explanation; NULL without */
    const char *layer;
    size_t decoding_bytes; /* at most; 0: no limit of the session's own */
    unsigned threads;
    kernels_level level;
};

const char *dermis_version(void)
{
    return DERMIS_VERSION;
}

const char *dermis_cpu_level(unsigned index, bool *available)
{
    if (index >= KERNELS_LEVEL_COUNT)
        return NULL;
    kernels_level level = (kernels_level)index;
    *available = level <= kernels_level_best() && kernels_table_level(kernels_get(level)) == level;
    return kernels_level_name(level);
}

/* ---- model ---- */

static void fill_info(dermis_model *m)
{
    const model_graph *g = m->graph;
    dermis_model_info *info = &m->info;
    *info = (dermis_model_info){
        .name = g->name,
        .source = g->source,
        .source_sha256 = g->source_sha256,
        .preprocess = g->preprocess,
        .license = g->license,
        .class_card = g->class_card,
        .input_height = g->nodes[0].out.h,
        .input_width = g->nodes[0].out.w,
        .input_channels = g->nodes[0].out.c,
        .class_count = m->classes,
        .warning_count = g->warning_count,
        .cam_layer = g->cam_layer >= 0 ? g->layers[g->cam_layer].name : NULL,
        .weight_type = "f32",
        .file_bytes = model_file_bytes(m->file),
    };
    for (uint32_t i = 0; i < g->node_count; i++) {
        info->macs += model_node_macs(g, i);
        for (int role = 0; role < MODEL_ROLE_COUNT; role++) {
            const model_tensor *t = &g->nodes[i].tensors[role];
            info->weight_bytes += t->bytes;
            info->parameters += t->bytes / (t->type == MODEL_F16 ? 2 : 4);
            if (t->type == MODEL_F16)
                info->weight_type = "f16";
        }
    }
}

dermis_status dermis_model_open(const char *path, dermis_model **out, dermis_error *err)
{
    dermis_model *m = base_calloc(BASE_TAG_ENGINE, 1, sizeof *m);
    if (!m)
        return base_fail(err, DERMIS_E_MEMORY, "%s: not enough memory to open it", path);
    dermis_status status = model_open(path, &m->file, err);
    if (status != DERMIS_OK) {
        base_free(m);
        return status;
    }
    m->graph = model_get_graph(m->file);
    model_shape answer = m->graph->nodes[m->graph->node_count - 1].out;
    m->outputs = answer.h * answer.w * answer.c;
    m->classes = m->outputs == 1 && m->graph->class_count != 1 ? 2 : m->outputs;
    if (m->graph->class_count == 0) {
        m->unnamed = base_calloc(BASE_TAG_ENGINE, m->classes, sizeof *m->unnamed);
        if (!m->unnamed) {
            dermis_model_close(m);
            return base_fail(err, DERMIS_E_MEMORY, "%s: not enough memory to open it", path);
        }
        for (uint32_t i = 0; i < m->classes; i++)
            snprintf(m->unnamed[i], sizeof *m->unnamed, "class %u", i);
    }
    fill_info(m);
    *out = m;
    return DERMIS_OK;
}

void dermis_model_close(dermis_model *m)
{
    if (!m)
        return;
    model_close(m->file);
    base_free(m->unnamed);
    base_free(m);
}

void dermis_model_get_info(const dermis_model *m, dermis_model_info *out)
{
    *out = m->info;
}

const char *dermis_model_class(const dermis_model *m, uint32_t index)
{
    if (index >= m->classes)
        return "unknown";
    return m->unnamed ? m->unnamed[index] : m->graph->classes[index];
}

const char *dermis_model_warning(const dermis_model *m, uint32_t index)
{
    return index < m->graph->warning_count ? m->graph->warnings[index] : "";
}

int32_t dermis_model_find_class(const dermis_model *m, const char *name)
{
    for (uint32_t i = 0; i < m->classes; i++)
        if (strcmp(dermis_model_class(m, i), name) == 0)
            return (int32_t)i;
    for (uint32_t i = 0; i < m->classes; i++)
        if (strcasecmp(dermis_model_class(m, i), name) == 0)
            return (int32_t)i;
    char *end;
    unsigned long index = strtoul(name, &end, 10);
    return *name >= '0' && *name <= '9' && *end == 0 && index < m->classes ? (int32_t)index : -1;
}

/* ---- session ---- */

void dermis_options_default(dermis_options *out)
{
    *out = (dermis_options){.explain = true};
}

static dermis_status find_layer(const model_graph *g, const dermis_options *options, int32_t *out,
                                dermis_error *err)
{
    *out = -1;
    if (!options->explain)
        return DERMIS_OK;
    if (!options->layer) {
        *out = g->cam_layer;
        return DERMIS_OK;
    }
    for (uint32_t i = 0; i < g->layer_count; i++)
        if (strcmp(g->layers[i].name, options->layer) == 0) {
            *out = (int32_t)i;
            return DERMIS_OK;
        }
    return base_fail(err, DERMIS_E_USAGE,
                     "no convolution is named %s; the last of this model's %u is %s (`dermis inspect "
                     "--layers` lists all)",
                     options->layer, g->layer_count,
                     g->layer_count ? g->layers[g->layer_count - 1].name : "(none)");
}

static dermis_status choose_level(const char *cpu, kernels_level *out, dermis_error *err)
{
    if (!cpu)
        return kernels_cap_from_env(out, err);
    if (kernels_level_parse(cpu, out))
        return DERMIS_OK;
    return base_fail(err, DERMIS_E_USAGE, "unknown CPU level %s; scalar, avx2 and avx512 are known",
                     cpu);
}

dermis_status dermis_session_open(dermis_model *m, const dermis_options *given, dermis_session **out,
                                  dermis_error *err)
{
    dermis_options options;
    dermis_options_default(&options);
    if (given)
        options = *given;
    nn_options plan = {.threads = options.threads ? options.threads : base_cpu_count()};
    dermis_status status;
    if ((status = choose_level(options.cpu, &plan.cap, err)) ||
        (status = find_layer(m->graph, &options, &plan.cam_layer, err)))
        return status;
    dermis_session *s = base_calloc(BASE_TAG_ENGINE, 1, sizeof *s);
    if (!s)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory for a session");
    s->model = m;
    s->threads = plan.threads;
    s->level = kernels_table_level(kernels_get(plan.cap));
    if ((status = nn_plan_new(m->graph, &plan, &s->plan, err)))
        goto fail;
    nn_plan_info info;
    nn_plan_get_info(s->plan, &info);
    if (options.memory_bytes && info.arena_bytes > options.memory_bytes) {
        status = base_fail(err, DERMIS_E_BUDGET,
                           "the session's arena takes %zu bytes, the budget is %zu",
                           info.arena_bytes, options.memory_bytes);
        goto fail;
    }
    if (options.memory_bytes) /* 0 would mean no limit */
        s->decoding_bytes = options.memory_bytes > info.arena_bytes
                                ? options.memory_bytes - info.arena_bytes
                                : 1;
    if ((status = base_pool_new(plan.threads, &s->pool, err)) ||
        (status = nn_session_new(s->plan, s->pool, &s->run, err)))
        goto fail;
    s->probabilities = base_calloc(BASE_TAG_ENGINE, m->classes, sizeof(float));
    if (!s->probabilities)
        goto no_memory;
    if (plan.cam_layer >= 0) {
        nn_target target;
        nn_session_target(s->run, &target);
        s->layer = m->graph->layers[plan.cam_layer].name;
        s->map = base_calloc(BASE_TAG_ENGINE, (size_t)target.shape.h * target.shape.w, sizeof(float));
        s->weights = base_calloc(BASE_TAG_ENGINE, target.shape.c, sizeof(float));
        if (!s->map || !s->weights)
            goto no_memory;
    }
    *out = s;
    return DERMIS_OK;
no_memory:
    status = base_fail(err, DERMIS_E_MEMORY, "not enough memory for a session");
fail:
    dermis_session_close(s);
    return status;
}

void dermis_session_close(dermis_session *s)
{
    if (!s)
        return;
    nn_session_free(s->run);
    nn_plan_free(s->plan);
    base_pool_free(s->pool);
    base_free(s->probabilities);
    base_free(s->map);
    base_free(s->weights);
    base_free(s);
}

void dermis_session_limit_decoding(dermis_session *s, size_t bytes)
{
    s->decoding_bytes = bytes;
}

void dermis_session_memory(const dermis_session *s, dermis_memory *out)
{
    nn_plan_info info;
    nn_plan_get_info(s->plan, &info);
    *out = (dermis_memory){.activation_bytes = info.activation_bytes,
                           .gradient_bytes = info.gradient_bytes,
                           .scratch_bytes = info.scratch_bytes,
                           .arena_bytes = info.arena_bytes,
                           .weight_bytes = s->model->info.weight_bytes,
                           .resident_bytes = base_rss_bytes(),
                           .peak_resident_bytes = base_rss_peak_bytes()};
}

const char *dermis_session_cpu(const dermis_session *s)
{
    return kernels_level_name(s->level);
}

unsigned dermis_session_threads(const dermis_session *s)
{
    return s->threads;
}

unsigned dermis_session_steps(const dermis_session *s)
{
    nn_plan_info info;
    nn_plan_get_info(s->plan, &info);
    return info.steps;
}

void dermis_session_step(const dermis_session *s, unsigned step, dermis_step *out)
{
    nn_step_info info;
    nn_plan_get_step(s->plan, step, &info);
    *out = (dermis_step){info.name, info.op,           info.out.h,  info.out.w, info.out.c,
                         info.macs, info.weight_bytes, info.offset, info.bytes};
}

/* ---- photograph to answer ---- */

static void fill_photo(const image_info *info, size_t memory, dermis_photo *out)
{
    static const char *const names[] = {"jpeg", "png", "webp"};
    *out = (dermis_photo){names[info->format], info->width, info->height, memory,
                            image_overlay_memory(info)};
}

void dermis_photo_limits(dermis_limits *out)
{
    image_limits limits;
    image_limits_default(&limits);
    *out = (dermis_limits){limits.max_pixels, limits.max_side, limits.max_bytes, limits.max_scans,
                           limits.max_memory};
}

dermis_status dermis_photo_probe(const void *data, size_t size, dermis_photo *out, dermis_error *err)
{
    image_limits limits;
    image_limits_default(&limits);
    image_info info;
    dermis_status status = image_probe(data, size, &limits, &info, err);
    if (status == DERMIS_OK)
        fill_photo(&info, info.memory_bytes, out);
    return status;
}

static const image_crop *crop_of(const dermis_crop *crop, image_crop *out)
{
    if (!crop)
        return NULL;
    *out = (image_crop){crop->x, crop->y, crop->width, crop->height};
    return out;
}

static image_tensor tensor_of(const dermis_model *m, float *out)
{
    return (image_tensor){m->info.input_width, m->info.input_height, m->info.input_channels, out};
}

static void copies_of(const dermis_copy *copies, unsigned count, image_copy *out)
{
    for (unsigned i = 0; i < count; i++)
        out[i] = (image_copy){.max_side = copies[i].max_side, .quality = copies[i].quality, .out = copies[i].out};
}

dermis_status dermis_model_probe(const dermis_model *m, const void *data, size_t size, const dermis_crop *wanted,
                                 const dermis_copy *copies, unsigned count, dermis_photo *out, dermis_error *err)
{
    image_limits limits;
    image_limits_default(&limits);
    image_info info;
    image_crop storage;
    image_copy made[DERMIS_MAX_COPIES];
    const image_crop *crop = crop_of(wanted, &storage);
    if (count > DERMIS_MAX_COPIES)
        return base_fail(err, DERMIS_E_USAGE, "more than %d copies", DERMIS_MAX_COPIES);
    copies_of(copies, count, made);
    dermis_status status = image_probe(data, size, &limits, &info, err);
    if (status == DERMIS_OK)
        status = image_check_crop(&info, crop, err);
    if (status == DERMIS_OK) {
        image_tensor tensor = m ? tensor_of(m, NULL) : (image_tensor){0};
        fill_photo(&info, image_decode_memory(&info, crop, m ? &tensor : NULL, made, count), out);
    }
    return status;
}

/* Of the tensor (NULL: none) and the copies. */
static dermis_status decode(const void *data, size_t size, const dermis_crop *wanted, const image_tensor *tensor,
                            dermis_copy *copies, unsigned count, size_t memory_bytes, dermis_photo *photo,
                            dermis_error *err)
{
    image_limits limits;
    image_info info;
    image_crop storage;
    image_copy made[DERMIS_MAX_COPIES];
    const image_crop *crop = crop_of(wanted, &storage);
    image_limits_default(&limits);
    if (memory_bytes)
        limits.max_memory = memory_bytes;
    if (count > DERMIS_MAX_COPIES)
        return base_fail(err, DERMIS_E_USAGE, "more than %d copies", DERMIS_MAX_COPIES);
    copies_of(copies, count, made);
    dermis_status status = image_decode(data, size, &limits, crop, tensor, made, count, &info, err);
    for (unsigned i = 0; i < count && !status; i++) {
        copies[i].width = made[i].width;
        copies[i].height = made[i].height;
    }
    if (status == DERMIS_OK && photo)
        fill_photo(&info, image_decode_memory(&info, crop, tensor, made, count), photo);
    return status;
}

dermis_status dermis_session_load(dermis_session *s, const void *data, size_t size, const dermis_crop *crop,
                                  dermis_copy *copies, unsigned count, dermis_photo *photo, dermis_error *err)
{
    image_tensor tensor = tensor_of(s->model, nn_session_input(s->run));
    dermis_status status = model_check_unchanged(s->model->file, err);
    return status ? status : decode(data, size, crop, &tensor, copies, count, s->decoding_bytes, photo, err);
}

dermis_status dermis_photo_write(const void *data, size_t size, const dermis_crop *crop, dermis_copy *copies,
                                 unsigned count, size_t memory_bytes, dermis_error *err)
{
    return decode(data, size, crop, NULL, copies, count, memory_bytes, NULL, err);
}

float *dermis_session_input(dermis_session *s)
{
    return nn_session_input(s->run);
}

static const float *answer(dermis_session *s)
{
    size_t count;
    const float *out = nn_session_output(s->run, &count);
    if (count == 1 && s->model->classes == 2) {
        s->probabilities[0] = 1 - out[0];
        s->probabilities[1] = out[0];
    } else {
        memcpy(s->probabilities, out, count * sizeof *out);
    }
    return s->probabilities;
}

const float *dermis_session_run(dermis_session *s)
{
    nn_run(s->run);
    return answer(s);
}

const float *dermis_session_run_timed(dermis_session *s, double *step_ms)
{
    nn_run_timed(s->run, step_ms);
    return answer(s);
}

dermis_status dermis_session_check(const dermis_session *s, dermis_error *err)
{
    for (uint32_t i = 0; i < s->model->classes; i++)
        if (!isfinite(s->probabilities[i]))
            return base_fail(err, DERMIS_E_MODEL_INVALID,
                             "the model's answer is not a number: its weights are damaged or its "
                             "numbers overflow; convert it anew from the Keras file");
    return model_check_unchanged(s->model->file, err);
}

uint32_t dermis_session_top(const dermis_session *s, uint32_t n, uint32_t *out)
{
    uint32_t found = 0;
    const float *p = s->probabilities;
    for (uint32_t i = 0; i < s->model->classes; i++) {
        uint32_t at = found < n ? found++ : n;
        while (at > 0 && p[i] > p[out[at - 1]]) {
            if (at < n)
                out[at] = out[at - 1];
            at--;
        }
        if (at < n)
            out[at] = i;
    }
    return found;
}

dermis_status dermis_session_explain(dermis_session *s, uint32_t class_index, dermis_score score,
                                     dermis_map *out, dermis_error *err)
{
    if (!s->map)
        return base_fail(err, DERMIS_E_USAGE,
                         "there is no explanation: the model has no convolution to explain, or the "
                         "session was opened without");
    if (class_index >= s->model->classes)
        return base_fail(err, DERMIS_E_USAGE, "class %u of %u", class_index, s->model->classes);
    bool two_of_one = s->model->outputs == 1;
    bool flip = two_of_one && s->model->classes == 2 && class_index == 0;
    cam_result result;
    cam_grad_cam(s->run, two_of_one ? 0 : class_index,
                 score == DERMIS_SCORE_LOGIT ? NN_SCORE_LOGIT : NN_SCORE_PROBABILITY, flip,
                 s->weights, s->map, &result);
    *out = (dermis_map){s->map,   result.height, result.width, result.blank,
                        s->layer, "grad-cam",    class_index};
    return DERMIS_OK;
}

/* ---- overlay ---- */

void dermis_overlay_default(dermis_overlay *out)
{
    *out = (dermis_overlay){.colormap = "jet", .alpha = 0.4f};
}

dermis_status dermis_overlay_write(const void *data, size_t size, const dermis_map *map,
                                   const dermis_overlay *options, FILE *out, dermis_error *err)
{
    image_limits limits;
    image_limits_default(&limits);
    if (options->memory_bytes)
        limits.max_memory = options->memory_bytes;
    image_colormap colormap;
    dermis_status status = image_colormap_parse(options->colormap, &colormap);
    if (status != DERMIS_OK)
        return base_fail(err, status, "unknown colormap %s; jet, turbo, viridis and inferno are known",
                         options->colormap);
    return image_overlay(data, size, &limits, map->values, map->height, map->width, colormap,
                         options->alpha, options->jpeg ? IMAGE_ENCODE_JPEG : IMAGE_ENCODE_PNG, out,
                         err);
}

dermis_status dermis_heat_write(const dermis_map *map, const char *name, uint32_t width, uint32_t height,
                                FILE *out, dermis_error *err)
{
    image_colormap colormap;
    if (image_colormap_parse(name, &colormap) != DERMIS_OK)
        return base_fail(err, DERMIS_E_USAGE,
                         "unknown colormap %s; jet, turbo, viridis and inferno are known", name);
    return image_heat(map->values, map->height, map->width, colormap, width, height, out, err);
}
