/* test_server.c - parts of the server that stand by themselves: templates, the embedded pages, stored
 * maps, limits, the budget for photographs, rules of names and passwords. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <sodium.h>

#include "server/app.h"
#include "server/web.h"

/* ---- templates ---- */

static const char *only; /* the template "t" of a test */

static const char *find(const char *name, size_t *size)
{
    const char *text = strcmp(name, "t") == 0     ? only
                       : strcmp(name, "p") == 0   ? "[{{name}}]"
                       : strcmp(name, "me") == 0  ? "{{> me}}"
                                                  : NULL;
    if (text)
        *size = strlen(text);
    return text;
}

static void expect(const char *template, const char *json, const char *expected)
{
    server_text out = {0};
    json_t *context = json_loads(json, 0, NULL);
    only = template;
    assert_non_null(context);
    bool fine = server_template_render(find, "t", context, &out);
    assert_int_equal(fine, expected != NULL);
    if (expected)
        assert_string_equal(out.data ? out.data : "", expected);
    server_text_release(&out);
    json_decref(context);
}

static void test_template(void **state)
{
    (void)state;
    expect("plain", "{}", "plain");
    expect("{{a}}|{{b.c}}|{{none}}|{{b.none}}", "{\"a\":\"<&>\\\"'\",\"b\":{\"c\":3}}", "&lt;&amp;&gt;&quot;&#39;|3||");
    expect("{{#a}}x{{/a}}{{^a}}y{{/a}}", "{\"a\":false}", "y");
    expect("{{#a}}x{{/a}}{{^a}}y{{/a}}", "{\"a\":[]}", "y");
    expect("{{#a}}x{{/a}}{{^a}}y{{/a}}", "{\"a\":\"\"}", "y");
    expect("{{#a}}x{{/a}}{{^a}}y{{/a}}", "{\"a\":1}", "x");
    expect("{{#a}}{{.}},{{/a}}", "{\"a\":[1,\"<\"]}", "1,&lt;,");
    expect("{{#a}}{{b}}{{c}}{{/a}}", "{\"a\":[{\"b\":1},{\"b\":2}],\"c\":\"!\"}", "1!2!");
    expect("{{#a}}{{#a}}{{n}}{{/a}}{{/a}}", "{\"a\":{\"n\":1,\"a\":{\"n\":2}}}", "2");
    expect("{{> p}}{{! no }}", "{\"name\":\"n\"}", "[n]");
    expect("{{t.x}}", "{\"t\":{\"x\":\"at most {mb} MB, {none}{\"},\"mb\":\"<5>\"}", "at most &lt;5&gt; MB, {");
    /* what a user typed is no text of ours: its braces stay */
    expect("{{v}}", "{\"v\":\"{{csrf}}{csrf}\",\"csrf\":\"secret\"}", "{{csrf}}{csrf}");
    expect("{{#a}}x", "{\"a\":1}", NULL);
    expect("x{{/a}}", "{}", NULL);
    expect("{{a", "{}", NULL);
    expect("{{> none}}", "{}", NULL);
    expect("{{> me}}", "{}", NULL);
}

static const char *find_page(const char *name, size_t *size)
{
    char path[96];
    snprintf(path, sizeof path, "pages/%s.html", name);
    const server_web_file *file = server_web_find(path);
    if (file)
        *size = file->size;
    return file ? (const char *)file->data : NULL;
}

/* Every page is well formed, and has no inline script or style and nothing from elsewhere. */
static void test_pages(void **state)
{
    (void)state;
    size_t bytes = 0, pages = 0;
    for (unsigned i = 0; i < server_web_count; i++) {
        const server_web_file *file = &server_web_files[i];
        if (strncmp(file->path, "pages/", 6) == 0 || strncmp(file->path, "static/", 7) == 0)
            bytes += file->size;
        if (strncmp(file->path, "pages/", 6) != 0)
            continue;
        const char *text = (const char *)file->data;
        assert_null(strstr(text, "style="));
        assert_null(strstr(text, "onclick"));
        assert_null(strstr(text, "<script>"));
        assert_null(strstr(text, "http://"));
        assert_null(strstr(text, "https://"));
        assert_null(strstr(text, "{{{"));
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(strlen(file->path) - 11), file->path + 6);
        if (*name == '_')
            continue;
        json_t *context = json_loads("{\"t\":{}}", 0, NULL);
        server_text out = {0};
        if (!server_template_render(find_page, name, context, &out))
            fail_msg("%s is not well formed", file->path);
        server_text_release(&out);
        json_decref(context);
        pages++;
    }
    assert_true(pages >= 10);
    assert_true(bytes < 100000);
}

static void same_keys(json_t *a, json_t *b, const char *where)
{
    const char *key;
    json_t *value;
    assert_int_equal(json_object_size(a), json_object_size(b));
    json_object_foreach(a, key, value) {
        json_t *other = json_object_get(b, key);
        if (!other || json_typeof(value) != json_typeof(other))
            fail_msg("%s.%s is in one language only", where, key);
        if (json_is_object(value))
            same_keys(value, other, key);
        else
            assert_true(json_string_length(value) > 0 && json_string_length(other) > 0);
    }
}

static void test_texts(void **state)
{
    (void)state;
    const server_web_file *en = server_web_find("texts/en.json"), *vi = server_web_find("texts/vi.json");
    json_t *a = json_loadb((const char *)en->data, en->size, JSON_REJECT_DUPLICATES, NULL);
    json_t *b = json_loadb((const char *)vi->data, vi->size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(a);
    assert_non_null(b);
    same_keys(a, b, "texts");
    json_decref(a);
    json_decref(b);
}

/* ---- maps ---- */

static void test_maps(void **state)
{
    (void)state;
    float first[6] = {0, .5f, 1, .25f, .125f, 0}, second[6] = {0}, got[6];
    uint8_t bytes[16 + 2 * (8 + 24)];
    map_set set;
    bool blank;
    assert_int_equal(sizeof bytes, maps_size(2, 2, 3));
    maps_begin(bytes, 2, 2, 3);
    maps_put(bytes, 0, &(dermis_map){.values = first, .height = 2, .width = 3, .class_index = 4});
    maps_put(bytes, 1, &(dermis_map){.values = second, .height = 2, .width = 3, .class_index = 1, .blank = true});
    assert_true(maps_read(bytes, sizeof bytes, &set));
    assert_int_equal(set.count, 2);
    assert_int_equal(maps_class(&set, 1), 1);
    assert_true(maps_get(&set, 4, got, &blank));
    assert_memory_equal(got, first, sizeof first);
    assert_false(blank);
    assert_true(maps_get(&set, 1, got, &blank));
    assert_true(blank);
    assert_false(maps_get(&set, 2, got, &blank));
    for (size_t n = 0; n < sizeof bytes; n++)
        assert_false(maps_read(bytes, n, &set));
    for (int at = 0; at < 16; at++) { /* a header that says something else */
        uint8_t kept = bytes[at];
        bytes[at] ^= 0x80;
        assert_false(maps_read(bytes, sizeof bytes, &set));
        bytes[at] = kept;
    }
    assert_int_equal(maps_fitting(16, 10, 12, 1 << 20), 16);
    assert_int_equal(maps_fitting(16, 200, 200, maps_size(3, 200, 200)), 3);
    assert_int_equal(maps_fitting(16, 200, 200, maps_size(3, 200, 200) - 1), 2);
    assert_int_equal(maps_fitting(16, 4096, 4096, 1 << 20), 0);
    assert_int_equal(maps_fitting(16, 1, 1, 3), 0);
}

/* Of a model with very many classes the likeliest are kept, as many as the store takes. */
static void test_many_classes(void **state)
{
    (void)state;
    enum { CLASSES = 20000 };
    static char *names[CLASSES], name[CLASSES][24], folder[] = "/tmp/dermis-server-XXXXXX";
    static float probabilities[CLASSES];
    static uint32_t order[CLASSES];
    char id[STORE_ID_CHARS + 1];
    dermis_error err;
    store_result kept;
    for (uint32_t i = 0; i < CLASSES; i++) {
        snprintf(name[i], sizeof name[i], "class number %u", i);
        names[i] = name[i];
        order[i] = CLASSES - 1 - i;
        probabilities[i] = (float)i / CLASSES;
    }
    server_about about = {.name = "m", .sha256 = "s", .cam_layer = "l", .class_count = CLASSES, .classes = names};
    server app = {.metrics = metrics_new(), .settings = {.retention_s = 60}};
    server_call call = {.app = &app};
    classify_result result = {.about = &about, .width = 5, .height = 6, .photo_width = 5, .photo_height = 6,
                              .probabilities = probabilities, .order = order, .photo = {.data = "p", .size = 1},
                              .thumb = {.data = "t", .size = 1}};
    assert_non_null(mkdtemp(folder));
    assert_int_equal(store_open(folder, true, app_now(), &app.store, &err), DERMIS_OK);
    assert_int_equal(classify_store(&call, &result, true, id, &err), DERMIS_OK);
    assert_int_equal(store_result_get(app.store, id, app_now(), &kept, &err), DERMIS_OK);
    json_t *answer = json_loads(kept.answer, 0, NULL), *predictions = json_object_get(answer, "predictions");
    assert_in_range(json_array_size(predictions), 1000, CLASSES - 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(predictions, 0), "index")), CLASSES - 1);
    json_decref(answer);
    store_result_release(&kept);
    assert_int_equal(store_result_delete(app.store, id, &err), DERMIS_OK);
    store_close(app.store);
    metrics_free(app.metrics);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* ---- limits ---- */

static void test_rate(void **state)
{
    (void)state;
    server_limits *limits = limits_new();
    for (int i = 0; i < 6; i++)
        assert_int_equal(limits_take(limits, "a", 1, 6, 1000), 0);
    assert_int_equal(limits_take(limits, "a", 1, 6, 1000), 10); /* one in ten seconds */
    assert_int_equal(limits_take(limits, "b", 1, 6, 1000), 0);
    assert_int_equal(limits_take(limits, "a", 1, 6, 10900), 1);
    assert_int_equal(limits_take(limits, "a", 1, 6, 11000), 0);
    assert_int_equal(limits_take(limits, "a", 1, 0, 11000), 0); /* no limit */
    for (int i = 0; i < 100000; i++) /* more keys than there is room for */
        limits_take(limits, &i, sizeof i, 6, 20000);
    limits_free(limits);
}

static void test_tries(void **state)
{
    (void)state;
    server_limits *limits = limits_new();
    double now = 1000;
    unsigned last = 0;
    for (int i = 0; i < 20; i++) {
        unsigned wait = limits_try(limits, "name", i % 2 ? "Anna" : "aNNA", now);
        if (i < 5)
            assert_int_equal(wait, 0);
        else
            assert_true(wait >= last && wait >= 1 && wait <= 900);
        last = wait;
        now += wait * 1000.0;
        limits_tried(limits, "name", "anna", false, now);
    }
    assert_int_equal(last, 900);
    assert_int_equal(limits_try(limits, "address", "anna", now), 0); /* another list */
    limits_tried(limits, "name", "anna", true, now);
    assert_int_equal(limits_try(limits, "name", "anna", now), 0);
    /* a clinic's slips of the fingers are forgotten with time, one each quarter of an hour */
    for (int i = 0; i < 200; i++) {
        assert_int_equal(limits_try(limits, "address", "clinic", now), 0);
        limits_tried(limits, "address", "clinic", false, now);
        now += 900e3;
    }
    limits_free(limits);
}

/* Names that nobody has cannot push out an account that has to wait. */
static void test_tries_crowded(void **state)
{
    (void)state;
    server_limits *limits = limits_new();
    char name[24];
    double now = 1000;
    for (int i = 0; i < 20; i++)
        limits_tried(limits, "name", "victim", false, now);
    for (int i = 0; i < 100000; i++, now += 1) {
        snprintf(name, sizeof name, "made up %d", i);
        limits_try(limits, "name", name, now);
        limits_tried(limits, "name", name, false, now);
    }
    assert_int_equal(limits_try(limits, "name", "victim", now), 800);
    /* nor is what was tried so far forgotten when the wait is over */
    now += 900e3;
    for (int i = 0; i < 100000; i++) {
        snprintf(name, sizeof name, "another %d", i);
        limits_tried(limits, "name", name, false, now);
    }
    limits_tried(limits, "name", "victim", false, now);
    assert_int_equal(limits_try(limits, "name", "victim", now), 900);
    limits_free(limits);
}

static void test_address(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"192.0.2.7", "192.0.2.7"},
                                           {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
                                           {"2001:db8:1:2:ffff::", "2001:db8:1:2::"},
                                           {"2001:db8:1:3::1", "2001:db8:1:3::"},
                                           {"::ffff:192.0.2.7", "192.0.2.7"},
                                           {"no address", "no address"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char key[LIMITS_ADDRESS_BYTES];
        limits_address(cases[i][0], key);
        assert_string_equal(key, cases[i][1]);
    }
}

/* ---- budget ---- */

static void *give_later(void *budget)
{
    struct timespec t = {0, 50000000};
    nanosleep(&t, NULL);
    budget_give(budget, 80);
    return NULL;
}

static void *take_more(void *budget) /* who holds 40 asks for 40 more */
{
    dermis_error err;
    assert_int_equal(budget_take(budget, 40, 40, 5000, &err), DERMIS_OK);
    return NULL;
}

static void test_budget(void **state)
{
    (void)state;
    server_budget budget;
    dermis_error err;
    pthread_t thread;
    budget_init(&budget, 100);
    assert_int_equal(budget_take(&budget, 101, 0, 1000, &err), DERMIS_E_BUDGET);
    assert_int_equal(budget_take(&budget, 80, 0, 0, &err), DERMIS_OK);
    assert_int_equal(budget_take(&budget, 21, 0, 20, &err), DERMIS_E_BUSY);
    assert_int_equal(budget_take(&budget, 20, 0, 0, &err), DERMIS_OK);
    pthread_create(&thread, NULL, give_later, &budget);
    assert_int_equal(budget_take(&budget, 50, 0, 5000, &err), DERMIS_OK); /* when it is given back */
    pthread_join(thread, NULL);
    assert_int_equal(budget.used, 70);
    /* what one holds counts, and two who hold and wait do not wait for each other */
    budget_give(&budget, 70);
    assert_int_equal(budget_take(&budget, 90, 0, 0, &err), DERMIS_OK);
    assert_int_equal(budget_take(&budget, 61, 40, 0, &err), DERMIS_E_BUDGET);
    pthread_create(&thread, NULL, take_more, &budget);
    for (size_t waiting = 0; waiting != 40;) {
        pthread_mutex_lock(&budget.mutex);
        waiting = budget.held_waiting;
        pthread_mutex_unlock(&budget.mutex);
    }
    double began = base_now_ms();
    assert_int_equal(budget_take(&budget, 20, 50, 5000, &err), DERMIS_E_BUSY);
    assert_true(base_now_ms() - began < 2000);
    budget_give(&budget, 50);
    pthread_join(thread, NULL);
    assert_int_equal(budget.used, 80);
}

/* ---- names, passwords, addresses ---- */

static void test_rules(void **state)
{
    (void)state;
    static const char *const good_names[] = {"ann", "Nguyễn Văn A", "a'b\"c<d>"};
    static const char *const bad_names[] = {"", "ab", " abc", "abc ", "a\nbc", "a\xff" "bc", "a\xc2\x85" "bc"};
    for (size_t i = 0; i < 3; i++)
        assert_null(auth_name_problem(good_names[i]));
    for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++)
        assert_string_equal(auth_name_problem(bad_names[i]), "name_unusable");
    assert_string_equal(auth_password_problem("anna", "ninechars"), "password_short");
    assert_string_equal(auth_password_problem("anna", "ữữữữữữữữữ"), "password_short"); /* characters, not bytes */
    assert_string_equal(auth_password_problem("anna", "PassWord123"), "password_common");
    assert_string_equal(auth_password_problem("anna", "1234567890"), "password_common");
    assert_string_equal(auth_password_problem("anna", "aaaaaaaaaaaaaa"), "password_common");
    assert_string_equal(auth_password_problem("anna maria b", "Anna Maria B"), "password_common");
    assert_null(auth_password_problem("anna", "correct battery 42"));
    assert_true(call_local_path("/profile/?a=b"));
    static const char *const elsewhere[] = {"", "x", "//evil", "/\\evil", "https://evil", "/a\r\nSet-Cookie: x", "/a b"};
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        assert_false(call_local_path(elsewhere[i]));
}

static void test_routes(void **state)
{
    (void)state;
    server_call call = {0};
    unsigned methods;
    assert_non_null(route_find(HTTP_GET, "/result/abc/heat.png", &call, &methods));
    assert_string_equal(call.parts[0], "abc");
    assert_null(route_find(HTTP_GET, "/result//heat.png", &call, &methods));
    assert_null(route_find(HTTP_GET, "/result/a/b/heat.png", &call, &methods));
    assert_null(route_find(HTTP_GET, "/upload/", &call, &methods));
    assert_int_equal(methods, 1u << HTTP_POST);
    assert_non_null(route_find(HTTP_GET, "/v2/models/m/versions/1/ready", &call, &methods));
    assert_string_equal(call.parts[1], "1");
    /* every form that changes something needs its token, but for the API, which takes no cookies */
    for (unsigned i = 0; i < server_route_count; i++)
        if (server_routes[i].method != HTTP_GET)
            assert_true(server_routes[i].flags & (ROUTE_POSTED | ROUTE_API));
}

/* ---- what JSON takes ---- */

static size_t json_now, json_most;

static void *count_alloc(size_t size)
{
    void *p = malloc(size);
    json_now += p ? malloc_usable_size(p) + 16 : 0;
    json_most = json_now > json_most ? json_now : json_most;
    return p;
}

static void count_free(void *p)
{
    json_now -= p ? malloc_usable_size(p) + 16 : 0;
    free(p);
}

/* The bound holds for texts of every kind, and is no more than some times what is taken. */
static void check_json(const char *text)
{
    size_t bound = v2_json_bytes(text, strlen(text));
    json_now = json_most = 0;
    json_set_alloc_funcs(count_alloc, count_free);
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (strlen(text) < 200 && !root)
        fail_msg("not JSON: %s", text);
    json_decref(root);
    json_set_alloc_funcs(malloc, free);
    assert_int_equal(json_now, 0);
    if (json_most > bound + 4096)
        fail_msg("%.60s: %zu bytes, more than the bound of %zu", text, json_most, bound);
    if (bound > 8 * json_most + 4096)
        fail_msg("%.60s: %zu bytes, a bound of %zu lets far less in than there is room for", text, json_most, bound);
}

static char *repeated(const char *before, const char *part, size_t count, const char *after)
{
    char *text = malloc(strlen(before) + strlen(part) * count + strlen(after) + 1), *at = text;
    at = stpcpy(at, before);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, part);
    strcpy(at, after);
    return text;
}

static void test_json_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *before, *part, *after;
    } shapes[] = {
        {"[0", ",1", "]"},          {"[0", ",-12.3456789e-3", "]"}, {"[[]", ",[]", "]"},      {"[[1]", ",[1]", "]"},
        {"[{}", ",{}", "]"},        {"[\"\"", ",\"a\"", "]"},       {"[\"", "QUJD", "\"]"}, {"[\"", "\\u00e9", "\"]"},
        {"[\"", "\\\"", "\"]"}, {"[true", ",null", "]"},        {"[{\"a\":1}", ",{\"a\":{\"b\":[1,2]}}", "]"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t count = 0; count <= 100000; count = count ? count * 10 : 1) {
            char *text = repeated(shapes[i].before, shapes[i].part, count, shapes[i].after);
            check_json(text);
            free(text);
        }
    char many[200000] = "{\"k\":0", *at = many + strlen(many); /* an object of many keys */
    for (int i = 0; i < 10000; i++)
        at += sprintf(at, ",\"k%d\":%d", i, i);
    strcpy(at, "}");
    check_json(many);
    char *deep = repeated("", "[", 33, "");
    assert_int_equal(v2_json_bytes(deep, 32), v2_json_bytes(deep, 31) + v2_json_bytes(deep, 1));
    assert_int_equal(v2_json_bytes(deep, 33), SIZE_MAX);
    free(deep);
    assert_int_not_equal(v2_json_bytes("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"", 40), SIZE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template), cmocka_unit_test(test_pages),  cmocka_unit_test(test_texts),
        cmocka_unit_test(test_maps),     cmocka_unit_test(test_rate),   cmocka_unit_test(test_tries),
        cmocka_unit_test(test_tries_crowded), cmocka_unit_test(test_address),
        cmocka_unit_test(test_many_classes),
        cmocka_unit_test(test_budget),   cmocka_unit_test(test_rules),  cmocka_unit_test(test_routes),
        cmocka_unit_test(test_json_bytes),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
