/* predict.c - `dermis predict`: photographs in; ranked classes, maps and overlays out. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define BAR_CELLS 30

/* Help's last part, with the limits where they stand. */
static const char *notes(void)
{
    static char text[1536];
    dermis_limits limits;
    dermis_photo_limits(&limits);
    snprintf(
        text, sizeof text,
        "PHOTO is a JPEG, PNG or WebP file, or - for standard input. With several photographs\n"
        "--overlay, --map and --dump-input name a folder (made if it is not there) and the files in\n"
        "it are called after the photographs: stem.png, stem.npy. Two outputs of one name, or one over\n"
        "a photograph, are refused before anything is written.\n\n"
        "Limits: %zu MiB a file, %g million pixels, sides of %u, %u scans of a JPEG; %zu MiB for\n"
        "decoding where --memory does not say otherwise.\n"
        "Exit code: 0, or the first failure's (2 usage, 3 no such file, 4 reading or writing, 6 not a\n"
        "picture, 7 damaged, 8 past a limit, 9 model not valid, 12 over the memory budget).\n\n"
        "Example: dermis predict --overlay heat.png photo.jpg\n",
        limits.bytes >> 20, (double)limits.pixels / 1e6, limits.side, limits.scans,
        limits.memory_bytes >> 20);
    return text;
}

typedef struct predict {
    /* options */
    const char *model_path, *overlay, *map, *dump, *class_name, *score_name, *layer, *cpu, *colormap,
        *language, *crop_text;
    unsigned top, threads;
    float alpha;
    size_t memory_bytes;
    bool json, no_cam;
    /* the call */
    bool folder; /* outputs name folders */
    dermis_model *model;
    dermis_model_info info;
    dermis_card *card;
    char language_code[16];
    dermis_crop crop;
    dermis_session *session;
    dermis_score score;
    int32_t class_index; /* -1: the winning one */
    uint32_t *order;
    size_t fixed_bytes;   /* resident before any photograph, at most */
    size_t photo_bytes;   /* what decoding this photograph may take; 0: no limit */
    size_t bound_bytes;   /* resident at most, for all photographs so far */
    json_t *answers;
} predict;

/* Where an output of photograph `photo` goes: `option` itself, or a file in that folder. False when
 * the name is too long. */
static bool output_path(const predict *p, const char *option, const char *photo,
                        const char *extension, char *out, size_t size)
{
    if (!p->folder)
        return snprintf(out, size, "%s", option) < (int)size;
    const char *name = strrchr(photo, '/');
    name = name ? name + 1 : photo;
    if (strcmp(photo, "-") == 0)
        name = "stdin";
    const char *dot = strrchr(name, '.');
    int stem = dot && dot != name ? (int)(dot - name) : (int)strlen(name);
    return snprintf(out, size, "%s/%.*s%s", option, stem, name, extension) < (int)size;
}

static bool ends_in(const char *path, const char *const *endings)
{
    const char *name = strrchr(path, '/'), *dot = strrchr(name ? name : path, '.');
    for (; dot && *endings; endings++)
        if (strcasecmp(dot, *endings) == 0)
            return true;
    return false;
}

static bool is_jpeg(const char *path)
{
    return ends_in(path, (const char *const[]){".jpg", ".jpeg", NULL});
}

static dermis_status write_overlay(const predict *p, const char *photo, const uint8_t *data,
                                   size_t size, const dermis_map *map, dermis_error *err)
{
    char path[4096];
    if (!output_path(p, p->overlay, photo, ".png", path, sizeof path))
        return base_fail(err, DERMIS_E_USAGE, "%s: the overlay's path is too long", photo);
    dermis_overlay options;
    dermis_overlay_default(&options);
    options.colormap = p->colormap;
    options.alpha = p->alpha;
    options.jpeg = is_jpeg(path);
    options.memory_bytes = p->photo_bytes;
    base_out out;
    dermis_status status = base_out_open(path, &out, err);
    if (status != DERMIS_OK)
        return status;
    status = dermis_overlay_write(data, size, map, &options, out.file, err);
    if (status == DERMIS_OK)
        return base_out_commit(&out, err);
    base_out_abort(&out);
    return base_fail_prefix(err, "%s", strcmp(photo, "-") == 0 ? "standard input" : photo);
}

static dermis_status write_outputs(const predict *p, const char *photo, const uint8_t *data,
                                   size_t size, const dermis_map *map, dermis_error *err)
{
    char path[4096];
    dermis_status status = DERMIS_OK;
    if (p->dump) {
        uint32_t shape[] = {p->info.input_height, p->info.input_width, p->info.input_channels};
        if (!output_path(p, p->dump, photo, ".npy", path, sizeof path))
            return base_fail(err, DERMIS_E_USAGE, "%s: the dump's path is too long", photo);
        status = cli_write_npy(path, dermis_session_input(p->session), shape, 3, err);
    }
    if (!status && map && p->map) {
        uint32_t shape[] = {map->height, map->width};
        if (!output_path(p, p->map, photo, ".npy", path, sizeof path))
            return base_fail(err, DERMIS_E_USAGE, "%s: the map's path is too long", photo);
        status = cli_write_npy(path, map->values, shape, 2, err);
    }
    if (!status && map && p->overlay)
        status = write_overlay(p, photo, data, size, map, err);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Identity of a file; `ino` 0: none. */
typedef struct identity {
    dev_t device;
    ino_t ino;
} identity;

static identity identity_of(const char *path)
{
    struct stat st;
    bool file = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    return file ? (identity){st.st_dev, st.st_ino} : (identity){0, 0};
}

static int by_identity(const void *a, const void *b)
{
    const identity *x = a, *y = b;
    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    return x->device < y->device ? -1 : x->device > y->device;
}

/* Refuses, before the first run, outputs that would overwrite each other or a photograph. */
static dermis_status check_outputs(const predict *p, char **photos, int count, dermis_error *err)
{
    const char *const options[] = {p->overlay, p->map, p->dump};
    char **paths = base_calloc(BASE_TAG_CLI, 3 * (size_t)count, sizeof *paths);
    identity *taken = base_calloc(BASE_TAG_CLI, (size_t)count, sizeof *taken);
    dermis_status status = DERMIS_OK;
    size_t n = 0;
    if (!paths || !taken) {
        status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
        goto out;
    }
    for (int i = 0; i < count; i++)
        taken[i] = identity_of(photos[i]);
    qsort(taken, (size_t)count, sizeof *taken, by_identity);
    for (int i = 0; i < count && !status; i++)
        for (int k = 0; k < 3 && !status; k++) {
            char path[4096];
            identity there;
            if (!options[k])
                continue;
            if (!output_path(p, options[k], photos[i], k == 0 ? ".png" : ".npy", path, sizeof path))
                status = base_fail(err, DERMIS_E_USAGE, "%s: its output's path is too long", photos[i]);
            else if ((there = identity_of(path)).ino &&
                     bsearch(&there, taken, (size_t)count, sizeof *taken, by_identity))
                status = base_fail(err, DERMIS_E_USAGE,
                                   "%s: the output would overwrite a photograph; name another",
                                   path);
            else if (!(paths[n] = base_strdup(BASE_TAG_CLI, path)))
                status = base_fail(err, DERMIS_E_MEMORY, "not enough memory");
            else
                n++;
        }
    qsort(paths, n, sizeof *paths, by_name);
    for (size_t i = 1; i < n && !status; i++)
        if (strcmp(paths[i - 1], paths[i]) == 0)
            status = base_fail(err, DERMIS_E_USAGE,
                               "%s: two outputs have this name; give them other folders, or "
                               "photographs of one name one call each",
                               paths[i]);
out:
    for (size_t i = 0; i < n; i++)
        base_free(paths[i]);
    base_free(paths);
    base_free(taken);
    return status;
}

/* ---- answers ---- */

/* A JSON string of any bytes: what is not UTF-8 has its bytes above ASCII replaced by '?'. */
static json_t *json_text(const char *text)
{
    json_t *out = json_string(text);
    if (out)
        return out;
    char plain[1024];
    snprintf(plain, sizeof plain, "%s", text);
    for (char *c = plain; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(plain);
}

static void print_answer(const predict *p, const char *photo, const float *probabilities,
                         uint32_t shown, const dermis_map *map)
{
    bool bars = cli_terminal(stdout);
    printf("%s\n", strcmp(photo, "-") == 0 ? "standard input" : photo);
    for (uint32_t i = 0; i < shown; i++) {
        float probability = probabilities[p->order[i]];
        printf("  %5.1f %%  ", (double)probability * 100);
        if (bars) {
            int cells = (int)(probability * BAR_CELLS + 0.5f);
            for (int k = 0; k < BAR_CELLS; k++)
                fputs(k < cells ? "█" : "░", stdout);
            fputs("  ", stdout);
        }
        const char *name = dermis_card_name(p->card, p->order[i], p->language_code);
        const char *class = dermis_model_class(p->model, p->order[i]);
        bool more = name && strcmp(name, class) != 0;
        printf("%s%s%s\n", class, more ? "  " : "", more ? name : "");
    }
    if (map && map->blank)
        printf("  no part of the picture moved the answer (the map is blank)\n");
}

static json_t *json_answer(const predict *p, const char *photo, const dermis_photo *about,
                           const float *probabilities, uint32_t shown, const dermis_map *map,
                           const double timing[3])
{
    json_t *predictions = json_array();
    for (uint32_t i = 0; i < shown; i++) {
        uint32_t index = p->order[i];
        json_array_append_new(predictions,
                              json_pack("{s:i, s:s, s:s*, s:f}", "index", (int)index, "class",
                                        dermis_model_class(p->model, index), "name",
                                        dermis_card_name(p->card, index, p->language_code), "probability",
                                        (double)probabilities[index]));
    }
    json_t *cam = map ? json_pack("{s:s, s:s, s:s, s:b}", "method", map->method, "layer", map->layer,
                                  "class", dermis_model_class(p->model, map->class_index), "blank",
                                  map->blank)
                      : json_null();
    return json_pack("{s:o, s:s, s:i, s:i, s:o, s:o, s:{s:f, s:f, s:f}, s:{s:I, s:I}}", "file", json_text(photo),
                     "model", p->info.name ? p->info.name : "", "width", (int)about->width, "height",
                     (int)about->height, "predictions", predictions, "cam", cam, "timing_ms",
                     "decode", timing[0], "run", timing[1], "cam", timing[2], "memory",
                     "bound_bytes", (json_int_t)p->bound_bytes, "peak_rss_bytes",
                     (json_int_t)base_rss_peak_bytes());
}

/* Reads the file within the limit on files and the budget. */
static dermis_status read_photo(predict *p, const char *photo, uint8_t **data, size_t *size,
                                dermis_error *err)
{
    struct stat st;
    dermis_limits limits;
    dermis_photo_limits(&limits);
    size_t limit = limits.bytes, left = p->memory_bytes - p->fixed_bytes;
    if (!p->memory_bytes)
        return base_file_read(photo, limit, BASE_TAG_CLI, data, size, err);
    /* what is no plain file is read into a buffer that grows: old, new and twice what is needed */
    if (stat(photo, &st) != 0 || !S_ISREG(st.st_mode))
        left /= 4;
    dermis_status status = base_file_read(photo, left < limit ? left : limit, BASE_TAG_CLI, data,
                                          size, err);
    if (status == DERMIS_E_PICTURE_LIMIT && left < limit)
        return base_fail(err, DERMIS_E_BUDGET, "%s: reading it would take more than --memory leaves, "
                                               "%.1f MB; allow more",
                         strcmp(photo, "-") == 0 ? "standard input" : photo, (double)left / 1e6);
    if (status != DERMIS_OK)
        return status;
    left = p->memory_bytes - p->fixed_bytes;
    p->photo_bytes = left > *size ? left - *size : 1;
    dermis_session_limit_decoding(p->session, p->photo_bytes);
    return DERMIS_OK;
}

static dermis_status one_photo(predict *p, const char *photo, dermis_error *err)
{
    uint8_t *data = NULL;
    size_t size;
    double at[4];
    dermis_photo about;
    dermis_map map_storage, *map = NULL;
    dermis_status status = read_photo(p, photo, &data, &size, err);
    if (status != DERMIS_OK)
        return status;
    at[0] = base_now_ms();
    status = dermis_session_load(p->session, data, size, &p->crop, NULL, 0, &about, err);
    if (status != DERMIS_OK) {
        /* the model's own errors name it already */
        if (status != DERMIS_E_MODEL_CHANGED)
            base_fail_prefix(err, "%s", strcmp(photo, "-") == 0 ? "standard input" : photo);
        goto out;
    }
    size_t decoding = p->overlay && about.overlay_bytes > about.memory_bytes ? about.overlay_bytes
                                                                             : about.memory_bytes;
    if (p->fixed_bytes + size + decoding > p->bound_bytes)
        p->bound_bytes = p->fixed_bytes + size + decoding;
    at[1] = base_now_ms();
    const float *probabilities = dermis_session_run(p->session);
    at[2] = base_now_ms();
    if ((status = dermis_session_check(p->session, err)) != DERMIS_OK) {
        base_fail_prefix(err, "%s", strcmp(photo, "-") == 0 ? "standard input" : photo);
        goto out;
    }
    uint32_t shown = dermis_session_top(p->session, p->top, p->order);
    if (!p->no_cam) {
        uint32_t index = p->class_index >= 0 ? (uint32_t)p->class_index : p->order[0];
        status = dermis_session_explain(p->session, index, p->score, &map_storage, err);
        if (status != DERMIS_OK)
            goto out;
        map = &map_storage;
    }
    at[3] = base_now_ms();
    if ((status = write_outputs(p, photo, data, size, map, err)) != DERMIS_OK)
        goto out;
    double timing[3] = {at[1] - at[0], at[2] - at[1], at[3] - at[2]};
    if (p->json)
        json_array_append_new(p->answers, json_answer(p, photo, &about, probabilities, shown, map,
                                                      timing));
    else
        print_answer(p, photo, probabilities, shown, map);
out:
    base_free(data);
    return status;
}

static dermis_status make_folders(const predict *p, dermis_error *err)
{
    const char *const folders[] = {p->overlay, p->map, p->dump};
    for (int i = 0; p->folder && i < 3; i++)
        if (folders[i] && mkdir(folders[i], 0777) != 0 && errno != EEXIST)
            return base_fail(err, DERMIS_E_IO, "%s: cannot make the folder: %s", folders[i],
                             strerror(errno));
    return DERMIS_OK;
}

static dermis_status open_all(predict *p, dermis_error *err)
{
    char *path = NULL;
    dermis_status status = cli_find_model(p->model_path, &path, err);
    if (status == DERMIS_OK)
        status = dermis_model_open(path, &p->model, err);
    base_free(path);
    if (status != DERMIS_OK)
        return status;
    dermis_model_get_info(p->model, &p->info);
    cli_warn(p->model);
    p->card = dermis_card_read(p->info.class_card);
    cli_language(p->language, p->language_code, sizeof p->language_code);
    if (!p->info.cam_layer && !p->layer && (p->overlay || p->map))
        return base_fail(err, DERMIS_E_USAGE, "the model has no convolution to explain: leave out "
                                              "--overlay and --map");
    if (!p->info.cam_layer && !p->layer)
        p->no_cam = true; /* nothing to explain */
    if (p->class_name) {
        p->class_index = dermis_model_find_class(p->model, p->class_name);
        if (p->class_index < 0)
            return base_fail(err, DERMIS_E_USAGE, "the model has no class %s; `dermis inspect` lists them",
                             p->class_name);
    }
    dermis_options options = {.threads = p->threads,
                              .cpu = p->cpu,
                              .explain = !p->no_cam,
                              .layer = p->layer};
    p->order = base_calloc(BASE_TAG_CLI, p->info.class_count, sizeof *p->order);
    if (!p->order)
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    if (p->top == 0 || p->top > p->info.class_count)
        p->top = p->info.class_count;
    if ((status = cli_session_open(p->model, &options, p->memory_bytes, &p->session, err)))
        return status;
    cli_memory memory;
    cli_memory_read(p->model, dermis_session_threads(p->session), &memory);
    p->fixed_bytes = memory.fixed_bytes;
    if (p->memory_bytes && p->memory_bytes <= p->fixed_bytes)
        return base_fail(err, DERMIS_E_BUDGET,
                         "program, model and session take %.1f MB, all of the budget of %.4g MiB (%.1f MB)",
                         (double)p->fixed_bytes / 1e6, (double)p->memory_bytes / 1048576, (double)p->memory_bytes / 1e6);
    return DERMIS_OK;
}

static bool parse_crop(const char *text, dermis_crop *out)
{
    char behind;
    return strspn(text, "0123456789,") == strlen(text) && strlen(text) < 44 &&
           sscanf(text, "%u,%u,%u,%u%c", &out->x, &out->y, &out->width, &out->height, &behind) == 4 &&
           out->width && out->height;
}

static int run(const cli_command *self, int argc, char **argv)
{
    predict p = {.class_index = -1, .alpha = 0.4f, .colormap = "jet", .score_name = "probability"};
    const cli_option options[] = {
        {"model", 'm', CLI_TEXT, &p.model_path, "FILE", "model file or Keras model (the bundled one)", 0, 0},
        {"top", 0, CLI_NUMBER, &p.top, "N", "show only the N most likely classes (all)", 1, 65536},
        {"json", 0, CLI_FLAG, &p.json, NULL, "print a JSON array, one object a photograph", 0, 0},
        {"overlay", 0, CLI_TEXT, &p.overlay, "FILE", "write the heat map over the photograph (.png, .jpg)", 0, 0},
        {"map", 0, CLI_TEXT, &p.map, "FILE", "write the map itself (.npy, float32 0..1)", 0, 0},
        {"dump-input", 0, CLI_TEXT, &p.dump, "FILE", "write the network's input (.npy, float32 0..255)", 0, 0},
        {"no-cam", 0, CLI_FLAG, &p.no_cam, NULL, "do without the explanation", 0, 0},
        {"class", 0, CLI_TEXT, &p.class_name, "NAME", "explain this class, by name or number (the likeliest)", 0, 0},
        {"score", 0, CLI_TEXT, &p.score_name, "WHAT", "explain the probability or the logit (probability)", 0, 0},
        {"layer", 0, CLI_TEXT, &p.layer, "NAME", "explain at this convolution (the last one)", 0, 0},
        {"lang", 0, CLI_TEXT, &p.language, "LANG", "language of the classes' names: en, vi (the locale's)", 0, 0},
        {"crop", 0, CLI_TEXT, &p.crop_text, "X,Y,W,H", "look only at this part, in pixels (the whole)", 0, 0},
        {"colormap", 0, CLI_TEXT, &p.colormap, "NAME", "jet, turbo, viridis or inferno (jet)", 0, 0},
        {"alpha", 0, CLI_REAL, &p.alpha, "A", "share of heat in the overlay, 0..1 (0.4)", 0, 1},
        {"threads", 0, CLI_NUMBER, &p.threads, "N", "threads (as many as CPUs)", 1, 256},
        {"cpu", 0, CLI_TEXT, &p.cpu, "LEVEL", "at most scalar, avx2 or avx512 (the best there is)", 0, 0},
        {"memory", 0, CLI_SIZE, &p.memory_bytes, "SIZE", "refuse what could make more than this resident: 64M (none)", 0, 0},
    };
    int exit_code;
    int photos = cli_parse(self, options, sizeof options / sizeof *options, notes(), argc, argv,
                           &exit_code);
    if (photos < 0)
        return exit_code;
    dermis_error err;
    if (photos == 0) {
        base_fail(&err, DERMIS_E_USAGE, "predict: no photograph named; see `dermis predict --help`");
        return cli_report(&err);
    }
    exit_code = 0;
    p.folder = photos > 1;
    p.score = strcmp(p.score_name, "logit") == 0 ? DERMIS_SCORE_LOGIT : DERMIS_SCORE_PROBABILITY;
    if (p.score == DERMIS_SCORE_PROBABILITY && strcmp(p.score_name, "probability") != 0) {
        base_fail(&err, DERMIS_E_USAGE, "--score is probability or logit, not %s", p.score_name);
        return cli_report(&err);
    }
    if (p.no_cam && (p.overlay || p.map)) {
        base_fail(&err, DERMIS_E_USAGE, "--overlay and --map need the explanation: leave out --no-cam");
        return cli_report(&err);
    }
    if (p.overlay && !p.folder && !ends_in(p.overlay, (const char *const[]){".png", ".jpg", ".jpeg", NULL})) {
        base_fail(&err, DERMIS_E_USAGE, "--overlay writes .png, .jpg or .jpeg, not %s", p.overlay);
        return cli_report(&err);
    }
    if (p.language && strcmp(p.language, "en") != 0 && strcmp(p.language, "vi") != 0) {
        base_fail(&err, DERMIS_E_USAGE, "--lang is en or vi, not %s", p.language);
        return cli_report(&err);
    }
    if (p.crop_text && !parse_crop(p.crop_text, &p.crop)) {
        base_fail(&err, DERMIS_E_USAGE, "--crop is X,Y,WIDTH,HEIGHT in pixels, not %s", p.crop_text);
        return cli_report(&err);
    }
    p.answers = json_array();
    bool ready = check_outputs(&p, argv + 1, photos, &err) == DERMIS_OK &&
                 open_all(&p, &err) == DERMIS_OK && make_folders(&p, &err) == DERMIS_OK;
    if (!ready) {
        exit_code = cli_report(&err);
        if (err.status == DERMIS_E_USAGE)
            goto out;
    }
    for (int i = 0; i < photos; i++) {
        if (ready) {
            if (one_photo(&p, argv[1 + i], &err) == DERMIS_OK)
                continue;
            int failed = cli_report(&err);
            exit_code = exit_code ? exit_code : failed;
        }
        json_array_append_new(p.answers,
                              json_pack("{s:o, s:{s:s, s:o}}", "file", json_text(argv[1 + i]),
                                        "error", "code", base_status_name(err.status), "message",
                                        json_text(err.text)));
    }
    if (!p.json && ready && isatty(fileno(stdout)))
        printf("\nThis is no diagnosis. A spot that changes, bleeds, hurts or itches belongs before a doctor.\n");
    if (p.json) {
        json_dumpf(p.answers, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
    }
out:
    json_decref(p.answers);
    dermis_session_close(p.session);
    dermis_model_close(p.model);
    dermis_card_free(p.card);
    base_free(p.order);
    return cli_end(exit_code);
}

const cli_command cli_predict = {"predict", "[OPTION...] PHOTO...",
                                 "names the likeliest classes of photographs, and shows where", run};
