/* test_form.c - forms: what RFC 7578 and browsers send, and what they do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/http.h"

#define MULTIPART "multipart/form-data; boundary=xx"
#define URLENCODED "application/x-www-form-urlencoded"

static dermis_status parse(const char *type, const char *body, size_t size, http_form *form)
{
    dermis_error err;
    char *copy = malloc(size ? size : 1); /* exactly as long: the sanitizer sees a read past it */
    memcpy(copy, body, size);
    dermis_status status = http_form_parse(type, copy, size, form, &err);
    if (status != DERMIS_OK) {
        assert_int_equal(err.status, status);
        assert_true(strlen(err.text) > 10);
    }
    if (status == DERMIS_OK) /* values point into the body: keep what is compared */
        for (unsigned i = 0; i < form->count; i++)
            assert_non_null(form->fields[i].name);
    http_form_release(status == DERMIS_OK ? form : &(http_form){0});
    free(copy);
    return status;
}

static void expect_text(http_form *form, const char *name, const char *value)
{
    char text[64];
    assert_true(http_form_text(form, name, text, sizeof text));
    assert_string_equal(text, value);
}

static void test_urlencoded(void **state)
{
    (void)state;
    http_form form;
    const char body[] = "a=1&b=%20x+y%C3%A9&c&=e&a=2&&d=%26%3D";
    assert_int_equal(http_form_parse(URLENCODED "; charset=utf-8", body, sizeof body - 1, &form, NULL), DERMIS_OK);
    assert_int_equal(form.count, 6);
    expect_text(&form, "a", "1"); /* the first */
    expect_text(&form, "b", " x y\xc3\xa9");
    expect_text(&form, "c", "");
    expect_text(&form, "", "e");
    expect_text(&form, "d", "&=");
    assert_null(http_form_field(&form, "x"));
    http_form_release(&form);
    assert_int_equal(parse(URLENCODED, "", 0, &form), DERMIS_OK);
    assert_int_equal(parse(URLENCODED, "a=%2", 4, &form), DERMIS_E_USAGE);
    assert_int_equal(parse(URLENCODED, "a=%zz", 5, &form), DERMIS_E_USAGE);
    assert_int_equal(parse(URLENCODED, "a=%00", 5, &form), DERMIS_E_USAGE);
    assert_int_equal(parse(URLENCODED, "%ff=1", 5, &form), DERMIS_E_USAGE);
}

static void test_text_is_checked(void **state)
{
    (void)state;
    http_form form;
    char text[4];
    const char body[] = "a=%ff&b=1234&c=123";
    assert_int_equal(http_form_parse(URLENCODED, body, sizeof body - 1, &form, NULL), DERMIS_OK);
    assert_false(http_form_text(&form, "a", text, sizeof text)); /* not UTF-8 */
    assert_false(http_form_text(&form, "b", text, sizeof text)); /* too long */
    assert_true(http_form_text(&form, "c", text, sizeof text));
    assert_false(http_form_text(&form, "d", text, sizeof text));
    http_form_release(&form);
}

static const char good[] = "--xx\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\nT\r\n"
                           "--xx\r\nContent-Disposition: form-data; name=\"image\"; filename=\"C:\\dir/\\\"a;b\\\".jpg\"\r\n"
                           "Content-Type: image/jpeg\r\n\r\n\xff\xd8\r\n--x\r\nbytes\0\r\n"
                           "--xx\r\ncontent-disposition: form-data; name=empty\r\n\r\n\r\n--xx--\r\n";

static void test_multipart(void **state)
{
    (void)state;
    http_form form;
    assert_int_equal(http_form_parse(MULTIPART, good, sizeof good - 1, &form, NULL), DERMIS_OK);
    assert_int_equal(form.count, 3);
    expect_text(&form, "csrf", "T");
    const http_field *image = http_form_field(&form, "image");
    assert_non_null(image);
    assert_string_equal(image->filename, "\"a;b\".jpg");
    assert_string_equal(image->type, "image/jpeg");
    assert_int_equal(image->size, 15);
    assert_memory_equal(image->data, "\xff\xd8\r\n--x\r\nbytes\0", 15);
    assert_true(image->data > (const uint8_t *)good && image->data < (const uint8_t *)good + sizeof good);
    assert_int_equal(http_form_field(&form, "empty")->size, 0);
    http_form_release(&form);
    assert_int_equal(http_form_parse("multipart/form-data; charset=x; boundary=\"xx\"", good, sizeof good - 1, &form, NULL),
                     DERMIS_OK);
    http_form_release(&form);
}

/* A body cut anywhere before its last boundary is refused, never half read. */
static void test_truncated(void **state)
{
    (void)state;
    http_form form;
    for (size_t n = 0; n < sizeof good - 1; n++)
        assert_int_equal(parse(MULTIPART, good, n, &form), n < sizeof good - 3 ? DERMIS_E_USAGE : DERMIS_OK);
}

static void test_malformed(void **state)
{
    (void)state;
    http_form form;
    static const char *const types[] = {"multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"xx",
                                        "multipart/form-data; x=boundary=xx"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        assert_int_not_equal(parse(types[i], good, sizeof good - 1, &form), DERMIS_OK);
    char longest[200] = "multipart/form-data; boundary=";
    memset(longest + 30, 'b', 71);
    assert_int_equal(parse(longest, good, sizeof good - 1, &form), DERMIS_E_USAGE);
    assert_int_equal(parse("text/plain", good, sizeof good - 1, &form), DERMIS_E_NOT_PICTURE);
    assert_int_equal(parse("multipart/form-datax; boundary=xx", good, sizeof good - 1, &form), DERMIS_E_NOT_PICTURE);
    static const char *const bodies[] = {
        "xx\r\n", "\r\n--xx\r\n", "--xx\r\n\r\nno headers\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data\r\n\r\nno name\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data; name=\"a\r\n\r\nnot closed\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\nx\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data; name=a\r\nContent-Disposition: form-data; name=b\r\n\r\nx\r\n--xx--",
        "--xxContent-Disposition: form-data; name=a\r\n\r\nx\r\n--xx--",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        assert_int_equal(parse(MULTIPART, bodies[i], strlen(bodies[i]), &form), DERMIS_E_USAGE);
}

static void test_limits(void **state)
{
    (void)state;
    http_form form;
    static char body[1 << 20];
    size_t n = 0;
    for (int i = 0; i < HTTP_MAX_FIELDS + 1; i++)
        n += (size_t)snprintf(body + n, sizeof body - n, "a%d=1&", i);
    assert_int_equal(parse(URLENCODED, body, n, &form), DERMIS_E_USAGE);
    n = (size_t)snprintf(body, sizeof body, "--xx\r\nX: ");
    memset(body + n, 'x', 5000);
    snprintf(body + n + 5000, sizeof body - n - 5000, "\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--xx--");
    assert_int_equal(parse(MULTIPART, body, strlen(body), &form), DERMIS_E_USAGE);
    n = 0;
    for (int i = 0; i < 40; i++) /* names of 1000 bytes: together more than a form keeps */
        n += (size_t)snprintf(body + n, sizeof body - n, "--xx\r\nContent-Disposition: form-data; name=\"%01000d\"\r\n\r\nx\r\n", i);
    snprintf(body + n, sizeof body - n, "--xx--");
    assert_int_equal(parse(MULTIPART, body, strlen(body), &form), DERMIS_E_USAGE);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    http_form form;
    base_memory_fail_at(1);
    assert_int_equal(http_form_parse(MULTIPART, good, sizeof good - 1, &form, NULL), DERMIS_E_MEMORY);
    base_memory_fail_at(1);
    assert_int_equal(http_form_parse(URLENCODED, "a=1", 3, &form, NULL), DERMIS_E_MEMORY);
    base_memory_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urlencoded), cmocka_unit_test(test_text_is_checked), cmocka_unit_test(test_multipart),
        cmocka_unit_test(test_truncated),  cmocka_unit_test(test_malformed),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests_name("form", tests, NULL, NULL);
}
