/* log.c - the clock and the log: one JSON object a line on standard error, written whole. Any thread. No names,
 * no addresses unless asked, no ids of results. */
#include <time.h>
#include <unistd.h>

#include "server/app.h"

int64_t app_now(void)
{
    return (int64_t)time(NULL);
}

static int put(const char *bytes, size_t n, void *text)
{
    server_text_add(text, bytes, n);
    return 0;
}

void app_log(const server *app, base_log_level level, const char *event, json_t *fields)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level == BASE_LOG_DEBUG && (!app || !app->settings.debug)) {
        json_decref(fields);
        return;
    }
    struct timespec now;
    struct tm t;
    char when[40];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &t);
    size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &t);
    snprintf(when + n, sizeof when - n, ".%03ldZ", now.tv_nsec / 1000000);
    json_t *line = json_pack("{s:s, s:s, s:s}", "time", when, "level", names[level], "event", event);
    if (line && fields)
        json_object_update(line, fields);
    server_text text = {0};
    if (line)
        json_dump_callback(line, put, &text, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    server_text_add(&text, "\n", 1);
    if (text.data) {
        ssize_t ignored = write(STDERR_FILENO, text.data, text.size);
        (void)ignored;
    }
    server_text_release(&text);
    json_decref(line);
    json_decref(fields);
}
