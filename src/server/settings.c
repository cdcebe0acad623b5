/* settings.c - the table of settings, and reading them from command line, environment and file. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/server.h"

#define AT(field) offsetof(server_settings, field)

const server_setting server_setting_table[] = {
    {"host", "HOST", SERVER_TEXT, AT(host), "127.0.0.1", 1, 255, NULL, "ADDRESS", "address to listen on; 0.0.0.0 or :: for all"},
    {"port", "PORT", SERVER_NUMBER, AT(port), "8000", 0, 65535, NULL, "N", "port to listen on; 0 takes a free one"},
    {"model", "MODEL", SERVER_TEXT, AT(model), "", 0, 4096, NULL, "FILE", "model file or Keras model; empty: the bundled one"},
    {"data-dir", "DATA_DIR", SERVER_TEXT, AT(data_dir), "", 0, 3500, NULL, "FOLDER", "accounts, results, photographs; empty: dermis in the user's data folder"},
    {"gradcam", "ENABLE_GRADCAM", SERVER_SWITCH, AT(gradcam), "on", 0, 0, NULL, "on|off", "heat maps"},
    {"memory", NULL, SERVER_SIZE, AT(memory_bytes), "0", 0, 1e15, NULL, "SIZE", "most memory of the whole process; 0: what the control group allows"},
    {"workers", NULL, SERVER_NUMBER, AT(workers), "0", 0, 64, NULL, "N", "photographs looked at, at once; 0: as many as CPUs"},
    {"threads", NULL, SERVER_NUMBER, AT(threads), "1", 1, 64, NULL, "N", "threads of one worker"},
    {"queue", NULL, SERVER_NUMBER, AT(queue), "0", 0, 4096, NULL, "N", "photographs that may wait; past them 503; 0: 8 for each worker"},
    {"preload", NULL, SERVER_SWITCH, AT(preload), "off", 0, 0, NULL, "on|off", "load the model at the start, not at the first photograph"},
    {"idle-unload", NULL, SERVER_SECONDS, AT(idle_unload_s), "5m", 0, 31536000, NULL, "TIME", "let the model go after this long without a photograph; 0: never"},
    {"upload-limit", NULL, SERVER_SIZE, AT(upload_bytes), "5M", 65536, 96.0 * 1048576, NULL, "SIZE", "largest photograph"},
    {"request-limit", NULL, SERVER_SECONDS, AT(request_limit_s), "300", 5, 3600, NULL, "TIME", "longest request, from its headers to its answer's last byte"},
    {"connections", NULL, SERVER_NUMBER, AT(connections), "512", 4, 16384, NULL, "N", "connections at once"},
    {"rate-limit", NULL, SERVER_NUMBER, AT(rate_limit), "60", 0, 1000000, NULL, "N", "photographs a minute for one account, token or guest with a cookie; 0: no limit"},
    {"retention", NULL, SERVER_SECONDS, AT(retention_s), "30m", 60, 2592000, NULL, "TIME", "how long results stay that nobody keeps"},
    {"session", NULL, SERVER_SECONDS, AT(session_s), "14d", 300, 31536000, NULL, "TIME", "how long a log-in lasts"},
    {"language", NULL, SERVER_CHOICE, AT(language), "auto", 0, 0, "auto|en|vi", "LANG", "language of the pages; auto: the browser's"},
    {"signup", NULL, SERVER_CHOICE, AT(signup), "open", 0, 0, "open|closed", "open|closed", "who may make an account: everyone, or the operator alone"},
    {"allowed-hosts", "ALLOWED_HOSTS", SERVER_HOSTS, AT(allowed_hosts), "", 0, 4096, NULL, "NAMES", "names under which it may be called, by commas; .example.org takes all below it, * any; empty: localhost and --host"},
    {"trusted-proxies", NULL, SERVER_PROXIES, AT(trusted_proxies), "", 0, 4096, NULL, "ADDRESSES", "addresses whose X-Forwarded-For and -Proto are believed, by commas; * any"},
    {"metrics", NULL, SERVER_CHOICE, AT(metrics), "local", 0, 0, "local|all|operator|none", "WHO", "who may read /metrics: this machine, everyone, operators, nobody"},
    {"tls-certificate", NULL, SERVER_TEXT, AT(tls_certificate), "", 0, 4096, NULL, "FILE", "certificate chain (PEM): serve HTTPS"},
    {"tls-key", NULL, SERVER_TEXT, AT(tls_key), "", 0, 4096, NULL, "FILE", "its key (PEM)"},
    {"secret-key", "SECRET_KEY", SERVER_TEXT, AT(secret_key), "", 16, 512, NULL, "TEXT", "key of the forms' tokens; empty: made once and kept in the data folder"},
    {"cpu", "DERMIS_CPU", SERVER_TEXT, AT(cpu), "", 0, 16, NULL, "LEVEL", "at most scalar, avx2 or avx512; empty: the best there is"},
    {"log-addresses", NULL, SERVER_SWITCH, AT(log_addresses), "off", 0, 0, NULL, "on|off", "write clients' addresses into the log"},
    {"debug", "DEBUG", SERVER_SWITCH, AT(debug), "off", 0, 0, NULL, "on|off", "log more"},
};
const size_t server_setting_count = sizeof server_setting_table / sizeof *server_setting_table;

/* ---- one value ---- */

static bool parse_switch(const char *text, bool *out)
{
    static const char *const on[] = {"on", "true", "yes", "1"}, *const off[] = {"off", "false", "no", "0"};
    for (int i = 0; i < 4; i++) {
        if (strcasecmp(text, on[i]) == 0)
            return *out = true, true;
        if (strcasecmp(text, off[i]) == 0)
            return *out = false, true;
    }
    return false;
}

/* A number with one of `units` behind it; scale[i] belongs to units[i]. */
static bool parse_scaled(const char *text, const char *units, const double *scale, double *out)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)*text)) /* no sign, space, hexadecimal, infinity */
        return false;
    double v = strtod(text, &end);
    if (errno || text[1] == 'x' || text[1] == 'X')
        return false;
    const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
    if (unit) {
        v *= scale[unit - units];
        end++;
    }
    *out = v;
    return *end == 0 && isfinite(v);
}

static bool parse_choice(const char *text, const char *choices, unsigned *out)
{
    size_t length = strlen(text);
    unsigned index = 0;
    for (const char *c = choices; *c && length; index++) {
        size_t n = strcspn(c, "|");
        if (n == length && strncasecmp(c, text, n) == 0)
            return *out = index, true;
        c += n + (c[n] == '|');
    }
    return false;
}

/* As the Host header has it: a name, .name, an IPv4 address, [IPv6]. */
static bool is_host(const char *text)
{
    uint8_t address[16];
    size_t n = strlen(text);
    if (n > 2 && *text == '[' && text[n - 1] == ']') {
        char inner[64];
        return n < sizeof inner && snprintf(inner, sizeof inner, "%.*s", (int)n - 2, text + 1) > 0 &&
               inet_pton(AF_INET6, inner, address) == 1;
    }
    text += *text == '.';
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("-_", *c) && (*c != '.' || c == text || c[-1] == '.'))
            return false;
    return *text != 0;
}

/* Addresses are compared as texts: each has to be written as a client's is. */
static bool is_address(const char *text)
{
    uint8_t address[16];
    char again[INET6_ADDRSTRLEN] = "";
    for (int i = 0; i < 2 && !*again; i++)
        if (inet_pton(i ? AF_INET6 : AF_INET, text, address) == 1)
            inet_ntop(i ? AF_INET6 : AF_INET, address, again, sizeof again);
    return *again && strcasecmp(text, again) == 0;
}

/* Entries by commas, blanks around them; none of them empty, or none at all. */
static bool check_list(const char *text, bool entry(const char *text))
{
    char one[256];
    for (const char *c = *text ? text : NULL, *next; c; c = next) {
        c += strspn(c, " ");
        size_t n = strcspn(c, ",");
        next = c[n] ? c + n + 1 : NULL;
        while (n && c[n - 1] == ' ')
            n--;
        if (n == 0 || n >= sizeof one)
            return false;
        memcpy(one, c, n);
        one[n] = 0;
        if (strcmp(one, "*") != 0 && !entry(one))
            return false;
    }
    return true;
}

/* What a setting accepts, for messages and docs. */
static void allowed(const server_setting *s, char *out, size_t size)
{
    switch (s->kind) {
    case SERVER_SWITCH:
        snprintf(out, size, "on or off");
        break;
    case SERVER_CHOICE:
        snprintf(out, size, "%s", s->choices);
        break;
    case SERVER_NUMBER:
        snprintf(out, size, "a whole number from %.0f to %.0f", s->minimum, s->maximum);
        break;
    case SERVER_SECONDS:
        snprintf(out, size, "seconds from %.0f to %.0f, or as 90s, 5m, 2h, 14d", s->minimum, s->maximum);
        break;
    case SERVER_SIZE:
        snprintf(out, size, "bytes from %.0f to %.0f, or as 500K, 64M, 1G", s->minimum, s->maximum);
        break;
    case SERVER_TEXT:
        snprintf(out, size, "a text of %.0f to %.0f bytes", s->minimum, s->maximum);
        break;
    case SERVER_HOSTS:
        snprintf(out, size, "names of hosts without a port, IPv6 addresses in [], or *; by commas");
        break;
    case SERVER_PROXIES:
        snprintf(out, size, "exact addresses as 10.0.0.1 or fd00::1 (no ranges, no names), or *; by commas");
        break;
    }
}

static bool set_value(const server_setting *s, const char *text, server_settings *out)
{
    static const double sizes[] = {1024, 1048576, 1073741824}, seconds[] = {1, 60, 3600, 86400};
    void *at = (char *)out + s->offset;
    double v = 0;
    switch (s->kind) {
    case SERVER_SWITCH:
        return parse_switch(text, at);
    case SERVER_CHOICE:
        return parse_choice(text, s->choices, at);
    case SERVER_TEXT:
    case SERVER_HOSTS:
    case SERVER_PROXIES:
        v = (double)strlen(text);
        if (s->kind != SERVER_TEXT && !check_list(text, s->kind == SERVER_HOSTS ? is_host : is_address))
            return false;
        if (v > 0 && (v < s->minimum || v > s->maximum))
            return false;
        char *copy = base_strdup(BASE_TAG_SERVER, text);
        if (!copy)
            return false;
        out->owned[out->owned_count++] = copy;
        *(const char **)at = copy;
        return true;
    case SERVER_NUMBER:
    case SERVER_SECONDS:
        if (!parse_scaled(text, s->kind == SERVER_NUMBER ? "" : "smhd", seconds, &v) || v != floor(v) ||
            v < s->minimum || v > s->maximum)
            return false;
        *(unsigned *)at = (unsigned)v;
        return true;
    case SERVER_SIZE:
        if (!parse_scaled(text, "kmg", sizes, &v) || v < s->minimum || v > s->maximum)
            return false;
        *(size_t *)at = (size_t)v;
        return true;
    }
    return false;
}

/* ---- the file: `name = value` lines; # begins a remark, at a line's start or behind a blank ---- */

typedef struct file_values {
    char *values[sizeof server_setting_table / sizeof *server_setting_table];
} file_values;

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1]))
        text[--n] = 0;
    return text;
}

static dermis_status read_line(char *line, const char *path, unsigned number, file_values *out,
                               dermis_error *err)
{
    for (char *c = line; *c; c++)
        if (*c == '#' && (c == line || isspace((unsigned char)c[-1]))) {
            *c = 0;
            break;
        }
    line = trim(line);
    if (!*line)
        return DERMIS_OK;
    char *equals = strchr(line, '=');
    if (!equals)
        return base_fail(err, DERMIS_E_USAGE, "%s, line %u: not of the form `name = value`", path, number);
    *equals = 0;
    char *name = trim(line), *value = trim(equals + 1);
    size_t n = strlen(value);
    if (n >= 2 && (*value == '"' || *value == '\'') && value[n - 1] == *value) {
        value[n - 1] = 0;
        value++;
    }
    for (char *c = name; *c; c++)
        *c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
    for (size_t i = 0; i < server_setting_count; i++)
        if (strcmp(name, server_setting_table[i].name) == 0) {
            if (out->values[i])
                return base_fail(err, DERMIS_E_USAGE, "%s, line %u: %s is set a second time", path, number,
                                 name);
            out->values[i] = base_strdup(BASE_TAG_SERVER, value);
            return out->values[i] ? DERMIS_OK : base_fail(err, DERMIS_E_MEMORY, "not enough memory");
        }
    return base_fail(err, DERMIS_E_USAGE,
                     "%s, line %u: there is no setting %s; `dermis serve --help` lists them", path, number,
                     name);
}

static dermis_status read_file(const char *path, file_values *out, dermis_error *err)
{
    uint8_t *data;
    size_t size;
    dermis_status status = base_file_read(path, 65536, BASE_TAG_SERVER, &data, &size, err);
    if (status != DERMIS_OK)
        return status;
    char *text = base_alloc(BASE_TAG_SERVER, size + 1);
    if (!text) {
        base_free(data);
        return base_fail(err, DERMIS_E_MEMORY, "not enough memory");
    }
    memcpy(text, data, size);
    text[size] = 0;
    base_free(data);
    if (strlen(text) != size)
        status = base_fail(err, DERMIS_E_USAGE, "%s: not a text file", path);
    unsigned number = 0;
    for (char *line = text, *next; line && !status; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        status = read_line(line, path, ++number, out, err);
    }
    base_free(text);
    return status;
}

/* ---- all of them ---- */

void server_setting_variable(const server_setting *setting, char *out, size_t size)
{
    int n = snprintf(out, size, "DERMIS_%s", setting->name);
    for (int i = 7; i < n && i < (int)size; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

dermis_status server_settings_read(const char *const *given, const char *file, server_settings *out,
                                   dermis_error *err)
{
    file_values from_file = {{NULL}};
    server_settings settings = {0};
    dermis_status status = file ? read_file(file, &from_file, err) : DERMIS_OK;
    for (size_t i = 0; i < server_setting_count && !status; i++) {
        const server_setting *s = &server_setting_table[i];
        char variable[64], where[4200], range[128];
        server_setting_variable(s, variable, sizeof variable);
        const char *value = given ? given[i] : NULL;
        snprintf(where, sizeof where, "--%s", s->name);
        if (!value && (value = getenv(variable)))
            snprintf(where, sizeof where, "%s", variable);
        if (!value && s->bare && (value = getenv(s->bare)))
            snprintf(where, sizeof where, "%s", s->bare);
        if (!value && (value = from_file.values[i]))
            snprintf(where, sizeof where, "%s in %s", s->name, file);
        if (!value)
            value = s->standard;
        if (!set_value(s, value, &settings)) {
            allowed(s, range, sizeof range);
            status = base_fail(err, DERMIS_E_USAGE, "%s is '%.80s'; it has to be %s", where,
                               strcmp(s->name, "secret-key") == 0 ? "(not shown)" : value, range);
        }
    }
    if (!status && !*settings.tls_certificate != !*settings.tls_key)
        status = base_fail(err, DERMIS_E_USAGE, "tls-certificate and tls-key belong together: %s is not set",
                           *settings.tls_key ? "tls-certificate" : "tls-key");
    for (size_t i = 0; i < server_setting_count; i++)
        base_free(from_file.values[i]);
    if (status != DERMIS_OK) {
        server_settings_release(&settings);
        return status;
    }
    *out = settings;
    return DERMIS_OK;
}

void server_settings_release(server_settings *settings)
{
    for (unsigned i = 0; i < settings->owned_count; i++)
        base_free(settings->owned[i]);
    settings->owned_count = 0;
}

void server_settings_document(FILE *out)
{
    fprintf(out, "| Flag | Environment | Default | Allowed | What it does |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < server_setting_count; i++) {
        const server_setting *s = &server_setting_table[i];
        char variable[64], range[128], cell[160];
        server_setting_variable(s, variable, sizeof variable);
        allowed(s, range, sizeof range);
        size_t n = 0;
        for (const char *c = range; *c && n + 2 < sizeof cell; c++) { /* a bar would end the cell */
            if (*c == '|')
                cell[n++] = '\\';
            cell[n++] = *c;
        }
        cell[n] = 0;
        fprintf(out, "| `--%s` | `%s`%s%s%s | %s%s%s | %s | %s |\n", s->name, variable,
                s->bare && strncmp(s->bare, "DERMIS_", 7) != 0 ? ", `" : "",
                s->bare && strncmp(s->bare, "DERMIS_", 7) != 0 ? s->bare : "",
                s->bare && strncmp(s->bare, "DERMIS_", 7) != 0 ? "`" : "", *s->standard ? "`" : "",
                s->standard, *s->standard ? "`" : "", cell, s->help);
    }
}
