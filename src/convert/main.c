/* main.c - dermis-convert: one Keras model to one dermis model, in a process of its own, because
 * libhdf5 and libzip parse bytes from outside here. `dermis convert` starts it; it can be called by
 * hand. Its limits are set before the first byte is read. */
#include "convert/jail.h"
#include "import/import.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEAST_MEMORY_MB 48 /* program, libraries and stack take 25; the help says it too */

static const char usage[] =
    "usage: %s IN OUT.gguf [options]\n"
    "\n"
    "Converts a Keras model (.keras of Keras 2 and 3, .h5) to dermis's model file.\n"
    "\n"
    "  --type f32|f16          weights in the file (default f32)\n"
    "  --classes FILE|a,b,c    class names: a file of lines, a JSON list or card, or names\n"
    "  --preprocess HOW        what the model's owner did to pictures outside the model:\n"
    "                          none, 0..1, -1..1, caffe, torch (default none)\n"
    "  --answer HOW            of a last layer without activation: auto (softmax; of one\n"
    "                          answer sigmoid), softmax, sigmoid, as-is (scores; default auto)\n"
    "  --input-size HxW        for models with free size, e.g. 300x300\n"
    "  --name NAME             of the model (default: as its file says)\n"
    "  --license TEXT          kept in the file (default: as the card of --classes says)\n"
    "  --memory MB             limit of this process (default 1024 and 4 times the file)\n"
    "  --time SECONDS          limit of processor time (default 120)\n"
    "  --quiet                 no progress, no summary\n"
    "\n"
    "example: %s skin.keras skin.gguf --type f16 --classes acne,eczema,psoriasis\n";

static const char *called = "dermis-convert"; /* or "dermis convert", when that started it */

static int last_percent = -1;

static void show_progress(void *context, double fraction, const char *stage)
{
    int percent = (int)(fraction * 100);
    (void)context;
    if (percent == last_percent)
        return;
    last_percent = percent;
    char bar[41];
    for (int i = 0; i < 40; i++)
        bar[i] = i < percent * 40 / 100 ? '#' : '.';
    bar[40] = 0;
    fprintf(stderr, "\r%s %3d %% %-10s", bar, percent, stage);
    fflush(stderr);
}

static void clear_progress(void)
{
    if (last_percent >= 0)
        fprintf(stderr, "\r%70s\r", "");
    last_percent = -1;
}

static void show_warning(void *context, const char *text)
{
    (void)context;
    clear_progress();
    fprintf(stderr, "%s: warning: %s\n", called, text);
}

static int fail(dermis_status status, const char *text)
{
    clear_progress();
    fprintf(stderr, "%s: %s\n", called, text);
    return base_status_exit(status);
}

/* Addresses in use at most so far, bytes; 0 where unknown. */
static uint64_t most_addresses(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kb = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmPeak: %llu", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb << 10;
}

/* Where memory ends libhdf5 and libzip speak of a damaged file. */
static int fail_import(const dermis_error *err, uint64_t memory_bytes)
{
    char text[DERMIS_ERROR_TEXT_BYTES + 80];
    if (err->status == DERMIS_E_MEMORY)
        snprintf(text, sizeof text, "%s; allow more with --memory MB", err->text);
    else if (err->status == DERMIS_E_MODEL_INVALID && most_addresses() > memory_bytes / 2)
        snprintf(text, sizeof text, "%s (or it takes more than --memory %llu)", err->text,
                 (unsigned long long)(memory_bytes >> 20));
    else
        snprintf(text, sizeof text, "%s", err->text);
    return fail(err->status, text);
}

/* What was printed must have arrived. */
static int end(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    return fail(DERMIS_E_IO, "standard output: cannot write");
}

static bool parse_number(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long long v = strtoull(text, &end, 10);
    if (*end || v < least || v > most)
        return false;
    *out = v;
    return true;
}

static bool parse_answer(const char *text, import_answer *out)
{
    static const char *const names[] = {"auto", "softmax", "sigmoid", "as-is"};
    for (int i = 0; i < 4; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (import_answer)i;
            return true;
        }
    return false;
}

static bool parse_size(const char *text, uint32_t *h, uint32_t *w)
{
    unsigned a, b;
    char end;
    if (sscanf(text, "%5ux%5u%c", &a, &b, &end) != 2 || a < 1 || b < 1 || a > 16384 || b > 16384)
        return false;
    *h = a;
    *w = b;
    return true;
}

/* What stands at OUT and is no model file is somebody's: it is not written over. An empty file is nothing. */
static dermis_status check_output(const char *in, const char *out, dermis_error *err)
{
    struct stat source, there;
    char head[4] = "";
    if (stat(out, &there) != 0)
        return DERMIS_OK; /* not there, or writing will say why */
    if (stat(in, &source) == 0 && source.st_dev == there.st_dev && source.st_ino == there.st_ino)
        return base_fail(err, DERMIS_E_USAGE, "%s: the output is the file that is to be converted; name another, such as model.gguf",
                         out);
    if (!S_ISREG(there.st_mode) || there.st_size == 0)
        return DERMIS_OK;
    FILE *f = fopen(out, "rb");
    size_t n = f ? fread(head, 1, sizeof head, f) : 0;
    if (f)
        fclose(f);
    if (n == sizeof head && memcmp(head, "GGUF", sizeof head) == 0)
        return DERMIS_OK;
    return base_fail(err, DERMIS_E_EXISTS, "%s: it is there already and is %s, no model file of dermis; name another output, or "
                     "remove it first", out, f && import_recognises(head, n) ? "a Keras model or another zip" :
                     f && n && !memcmp(head, "\211HDF", n) ? "an HDF5 file, perhaps a Keras model" : "another kind of file");
}

static void print_summary(const import_summary *s, const import_options *o)
{
    struct stat st;
    double mb = stat(o->out, &st) == 0 ? (double)st.st_size / 1e6 : 0;
    printf("%s: %s (%s)\n", o->out, s->model, s->source);
    printf("  input %u x %u x %u, %u %s, %u Keras layers as %u operators\n", s->input.h, s->input.w,
           s->input.c, s->outputs, s->outputs == 1 ? "answer" : "answers", s->keras_layers,
           s->nodes);
    printf("  %.2f million parameters, %.3f GMAC, %.1f MB as %s\n", (double)s->parameters / 1e6,
           (double)s->macs / 1e9, mb, o->type == MODEL_F16 ? "float16" : "float32");
    printf("  explained by default: %s\n",
           s->cam_layer[0] ? s->cam_layer : "nothing (no convolution larger than 1x1)");
}

int main(int argc, char **argv)
{
    enum { TYPE = 1, CLASSES, PREPROCESS, ANSWER, SIZE, NAME, LICENSE, MEMORY, TIME, QUIET, HELP };
    static const struct option options[] = {
        {"type", required_argument, NULL, TYPE},
        {"classes", required_argument, NULL, CLASSES},
        {"preprocess", required_argument, NULL, PREPROCESS},
        {"answer", required_argument, NULL, ANSWER},
        {"input-size", required_argument, NULL, SIZE},
        {"name", required_argument, NULL, NAME},
        {"license", required_argument, NULL, LICENSE},
        {"memory", required_argument, NULL, MEMORY},
        {"time", required_argument, NULL, TIME},
        {"quiet", no_argument, NULL, QUIET},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    import_options o = {.type = MODEL_F32, .warn = show_warning};
    uint64_t memory_mb = 0, seconds = 120;
    bool quiet = false, good = true;
    int option;
    dermis_error err;
    if (argc > 0 && strcmp(argv[0], "dermis convert") == 0)
        called = argv[0];
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        switch (option) {
        case TYPE:
            good = !strcmp(optarg, "f32") || !strcmp(optarg, "f16");
            o.type = !strcmp(optarg, "f16") ? MODEL_F16 : MODEL_F32;
            break;
        case CLASSES:
            o.classes = optarg;
            break;
        case PREPROCESS:
            o.preprocess = optarg;
            break;
        case ANSWER:
            good = parse_answer(optarg, &o.answer);
            break;
        case SIZE:
            good = parse_size(optarg, &o.input_h, &o.input_w);
            break;
        case NAME:
            o.name = optarg;
            break;
        case LICENSE:
            o.license = optarg;
            break;
        case MEMORY:
            good = parse_number(optarg, LEAST_MEMORY_MB, 1 << 20, &memory_mb);
            break;
        case TIME:
            good = parse_number(optarg, 1, 1 << 20, &seconds);
            break;
        case QUIET:
            quiet = true;
            break;
        case 'h':
        case HELP:
            fprintf(stdout, usage, called, called);
            return end();
        case ':':
            fprintf(stderr, "%s: the option %s needs a value; see `dermis convert --help`\n", called,
                    argv[optind - 1]);
            return base_status_exit(DERMIS_E_USAGE);
        default:
            base_fail(&err, DERMIS_E_USAGE, "unknown option %s; `dermis convert --help` lists all",
                      argv[optind - 1]);
            return fail(err.status, err.text);
        }
        if (!good) {
            fprintf(stderr, "%s: --%s cannot be '%s'; see `dermis convert --help`\n", called,
                    options[option - 1].name, optarg);
            return base_status_exit(DERMIS_E_USAGE);
        }
    }
    if (argc - optind != 2) {
        fprintf(stderr, usage, called, called);
        return base_status_exit(DERMIS_E_USAGE);
    }
    o.in = argv[optind];
    o.out = argv[optind + 1];
    dermis_status status = check_output(o.in, o.out, &err);
    if (status != DERMIS_OK)
        return fail(status, err.text);
    struct stat st;
    if (memory_mb == 0) /* weights as read, as packed, and the unpacked zip entry */
        memory_mb = 1024 + (stat(o.in, &st) == 0 ? 4 * ((uint64_t)st.st_size >> 20) : 0);
    base_out_guard_install();
    jail_enter(memory_mb << 20, seconds);
    const char *term = getenv("TERM");
    if (!quiet && isatty(2) && !(term && !strcmp(term, "dumb")))
        o.progress = show_progress;
    import_summary summary;
    status = import_run(&o, &summary, &err);
    if (status != DERMIS_OK)
        return fail_import(&err, memory_mb << 20);
    clear_progress();
    if (!quiet)
        print_summary(&summary, &o);
    return end();
}
