/* test_golden.c - each model of tests/golden/models is converted and must say what Keras said of one
 * photograph: probabilities, class activation maps, outputs of chosen layers; at every level of
 * instructions that this machine has, with one and with two threads. One test a model. A tensor of a
 * layer is looked for among all nodes of its size, since folding and fusion rename them. */
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cam/cam.h"
#include "import/import.h"

#define MAX_MODELS 256

static char scratch[64] = "/tmp/dermis-golden-XXXXXX";
static char names[MAX_MODELS][160];

typedef struct array {
    float *data;
    size_t count;
} array;

/* A .npy file (version 1, little-endian float32 or uint8, C order): just what make.py writes. */
static array npy_read(const char *folder, const char *name) {
    char path[640], head[10];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f || fread(head, 1, 10, f) != 10 || memcmp(head, "\x93NUMPY\x01", 7) != 0)
        fail_msg("%s: not a .npy file", path);
    size_t header = (uint8_t)head[8] | (size_t)(uint8_t)head[9] << 8;
    char text[1024];
    if (header >= sizeof text || fread(text, 1, header, f) != header) fail_msg("%s: header", path);
    text[header] = 0;
    bool bytes = strstr(text, "'|u1'") != NULL;
    if (!bytes && !strstr(text, "'<f4'")) fail_msg("%s: neither uint8 nor float32: %s", path, text);
    if (!strstr(text, "'fortran_order': False")) fail_msg("%s: not in C order", path);
    long start = ftell(f);
    fseek(f, 0, SEEK_END);
    size_t count = (size_t)(ftell(f) - start) / (bytes ? 1 : 4);
    fseek(f, start, SEEK_SET);
    array a = {.data = malloc(count * sizeof(float) + 1), .count = count};
    if (bytes) {
        for (size_t i = 0; i < count; i++) a.data[i] = (float)fgetc(f);
    } else if (fread(a.data, 4, count, f) != count) {
        fail_msg("%s: cut short", path);
    }
    fclose(f);
    return a;
}

static double worst(const float *a, const float *b, size_t count) {
    double d = 0;
    for (size_t i = 0; i < count; i++) {
        double e = fabs((double)a[i] - b[i]);
        if (!(e <= d)) d = isnan(e) ? INFINITY : e;
    }
    return d;
}

typedef struct context {
    const char *folder, *name, *how, *answer; /* answer: file of the probabilities */
    json_t *expected;
    const model_graph *graph;
    double probabilities, map, tensors; /* worst seen */
    unsigned failures;
} context;

static double number(json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}
static const char *string(json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static void report(context *c, const char *what, double difference, double limit) {
    if (difference <= limit) return;
    c->failures++;
    print_error("%s (%s): %s differs by %.3g, allowed %.3g\n", c->name, c->how, what, difference, limit);
}

static void compare_maps(context *c, nn_session *session) {
    json_t *entry;
    size_t i;
    nn_target target;
    nn_session_target(session, &target);
    float *weights = malloc(target.shape.c * sizeof(float));
    float *map = malloc((size_t)target.shape.h * target.shape.w * sizeof(float));
    json_array_foreach(json_object_get(c->expected, "maps"), i, entry) {
        size_t outputs;
        nn_session_output(session, &outputs);
        array want = npy_read(c->folder, string(entry, "file"));
        uint32_t index = outputs == 1 ? 0 : (uint32_t)number(entry, "class");
        nn_score score = strcmp(string(entry, "score"), "logit") == 0 ? NN_SCORE_LOGIT : NN_SCORE_PROBABILITY;
        cam_result got;
        cam_grad_cam(session, index, score, json_is_true(json_object_get(entry, "flip")), weights, map, &got);
        double d = (size_t)got.height * got.width == want.count ? worst(map, want.data, want.count) : INFINITY;
        if (d > c->map) c->map = d;
        report(c, string(entry, "file"), d, number(json_object_get(c->expected, "tolerances"), "map"));
        if (got.blank != json_is_true(json_object_get(entry, "blank")))
            report(c, "blank", 1, 0);
        free(want.data);
    }
    free(weights);
    free(map);
}

static void compare_tensors(context *c, nn_session *session) {
    json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(c->expected, "tensors"), i, entry) {
        array want = npy_read(c->folder, string(entry, "file"));
        double best = INFINITY, size = 1e-6;
        for (size_t k = 0; k < want.count; k++) size = fmax(size, fabs((double)want.data[k]));
        for (uint32_t n = 0; n < c->graph->node_count; n++) {
            model_shape s = c->graph->nodes[n].out;
            const float *got = nn_session_tensor(session, n);
            if (!got || (size_t)s.h * s.w * s.c != want.count) continue;
            best = fmin(best, worst(got, want.data, want.count) / size);
        }
        if (isfinite(best) && best > c->tensors) c->tensors = best;
        report(c, string(entry, "layer"), best, number(json_object_get(c->expected, "tolerances"), "tensors"));
        free(want.data);
    }
}

/* One run of the model as `options` says; what differs is counted in c. */
static void compare(context *c, kernels_level level, unsigned threads, bool keep_all) {
    char how[64];
    snprintf(how, sizeof how, "%s, %u thread%s%s", kernels_level_name(level), threads,
             threads > 1 ? "s" : "", keep_all ? ", all kept" : "");
    c->how = how;
    dermis_error err;
    nn_options options = {.cap = level, .threads = threads, .cam_layer = -1, .keep_all = keep_all};
    if (json_array_size(json_object_get(c->expected, "maps")) > 0) options.cam_layer = c->graph->cam_layer;
    nn_plan *plan = NULL;
    nn_session *session = NULL;
    base_pool *pool = NULL;
    if (threads > 1 && base_pool_new(threads, &pool, &err) != DERMIS_OK) fail_msg("%s", err.text);
    if (nn_plan_new(c->graph, &options, &plan, &err) != DERMIS_OK ||
        nn_session_new(plan, pool, &session, &err) != DERMIS_OK) {
        print_error("%s (%s): %s\n", c->name, how, err.text);
        c->failures++;
        goto out;
    }
    array input = npy_read(c->folder, "input.npy"), want = npy_read(c->folder, c->answer);
    model_shape in = c->graph->nodes[0].out;
    size_t count;
    if (input.count == (size_t)in.h * in.w * in.c) {
        memcpy(nn_session_input(session), input.data, input.count * sizeof(float));
        nn_run(session);
        const float *got = nn_session_output(session, &count);
        double d = count == want.count ? worst(got, want.data, count) : INFINITY;
        if (d > c->probabilities) c->probabilities = d;
        report(c, "probabilities", d, number(json_object_get(c->expected, "tolerances"), "probabilities"));
        if (keep_all) compare_tensors(c, session);
        if (options.cam_layer >= 0) compare_maps(c, session);
    } else {
        report(c, "the input's shape", INFINITY, 0);
    }
    free(input.data);
    free(want.data);
out:
    nn_session_free(session);
    nn_plan_free(plan);
    base_pool_free(pool);
    c->how = "";
}

/* Whether a cap at `level` gives that level, and not the next lower one. */
static bool is_there(kernels_level level) {
    return kernels_table_level(kernels_get(level)) == level;
}

static void warn(void *unused, const char *text) {
    (void)unused;
    print_message("  warning: %s\n", text);
}

/* `file`: what Keras says, with the model's weights as they are or rounded as --type f16 does. */
static void golden_of(const char *folder, const char *file) {
    char path[640], in[640], out[640];
    context c = {.folder = folder, .name = strrchr(folder, '/') + 1, .how = "", .answer = "probabilities.npy"};
    snprintf(path, sizeof path, "%s/%s", folder, file);
    json_error_t problem;
    c.expected = json_load_file(path, 0, &problem);
    if (!c.expected) fail_msg("%s: %s", path, problem.text);
    if (string(c.expected, "probabilities")) c.answer = string(c.expected, "probabilities");
    snprintf(in, sizeof in, "%s/%s", folder, string(c.expected, "file"));
    snprintf(out, sizeof out, "%s/%s.gguf", scratch, c.name);
    import_options options = {.in = in, .out = out, .preprocess = string(c.expected, "preprocess"),
                              .type = strcmp(string(c.expected, "type"), "f16") == 0 ? MODEL_F16 : MODEL_F32,
                              .warn = warn};
    dermis_error err;
    model *m = NULL;
    if (import_run(&options, NULL, &err) != DERMIS_OK) fail_msg("%s: import: %s", c.name, err.text);
    if (model_open(out, &m, &err) != DERMIS_OK) fail_msg("%s: open: %s", c.name, err.text);
    c.graph = model_get_graph(m);
    const char *layer = string(c.expected, "cam_layer");
    const char *got = c.graph->cam_layer >= 0 ? c.graph->layers[c.graph->cam_layer].name : NULL;
    if (layer && (!got || strcmp(layer, got) != 0)) {
        print_error("%s: the explained layer is %s, Keras's is %s\n", c.name, got ? got : "none", layer);
        c.failures++;
    }
    for (kernels_level level = KERNELS_SCALAR; level < KERNELS_LEVEL_COUNT; level++)
        for (unsigned threads = 1; is_there(level) && threads <= 2; threads++) {
            compare(&c, level, threads, false);
            if (threads == 1) compare(&c, level, threads, true);
        }
    print_message("%-32s %s  probabilities %.1e  map %.1e  tensors %.1e\n", c.name, string(c.expected, "type"),
                  c.probabilities, c.map, c.tensors);
    model_close(m);
    unlink(out);
    json_decref(c.expected);
    if (c.failures) fail_msg("%s: %u comparisons failed", c.name, c.failures);
}

static void golden(void **state) {
    char path[640];
    golden_of(*state, "expected.json");
    snprintf(path, sizeof path, "%s/expected-f16.json", (const char *)*state);
    if (access(path, F_OK) == 0) golden_of(*state, "expected-f16.json");
}

static int not_hidden(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* test_golden FOLDER [part of a name] */
int main(int argc, char **argv) {
    static struct CMUnitTest tests[MAX_MODELS];
    static char folders[MAX_MODELS][400];
    size_t count = 0;
    struct dirent **list;
    int found = argc > 1 ? scandir(argv[1], &list, not_hidden, alphasort) : -1;
    if (found <= 0 || !mkdtemp(scratch)) {
        fprintf(stderr, "usage: test_golden FOLDER-OF-MODELS [PART-OF-A-NAME]\n");
        return 2;
    }
    for (int i = 0; i < found && count < MAX_MODELS; i++) {
        if (argc < 3 || strstr(list[i]->d_name, argv[2])) {
            snprintf(folders[count], sizeof folders[count], "%s/%s", argv[1], list[i]->d_name);
            snprintf(names[count], sizeof names[count], "golden %.150s", list[i]->d_name);
            tests[count] = (struct CMUnitTest){.name = names[count], .test_func = golden,
                                               .initial_state = folders[count]};
            count++;
        }
        free(list[i]);
    }
    free(list);
    for (kernels_level level = KERNELS_SCALAR; level < KERNELS_LEVEL_COUNT; level++)
        if (!is_there(level))
            printf("# level %s: skipped, %s\n", kernels_level_name(level),
                   level > kernels_level_best() ? "not on this machine" : "no kernels of its own in this build");
    int failed = _cmocka_run_group_tests("golden", tests, count, NULL, NULL);
    rmdir(scratch);
    return failed ? 1 : 0;
}
