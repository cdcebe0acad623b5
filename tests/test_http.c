/* test_http.c - the web server against raw sockets: how requests may arrive, limits of bodies,
 * parked requests, deadlines, and what is malformed. */
#include "http_client.h"

static uint32_t sum_of(const char *bytes, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = sum * 31 + (uint8_t)bytes[i];
    return sum;
}

/* ---- how requests may arrive ---- */

static void test_keep_alive(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    say(&c, "GET /a%20b?q=%41+c HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.text, "GET /a b q=A c host=h size=0 sum=0 secure=0");
    assert_non_null(strcasestr(a.headers, "\r\nContent-Type: text/plain\r\n"));
    say(&c, "POST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: close\r\n\r\nxyz");
    hear(&c, &a);
    char text[80];
    snprintf(text, sizeof text, "POST /two q=- host=h size=3 sum=%u secure=0", sum_of("xyz", 3));
    assert_string_equal(a.text, text);
    assert_true(a.close);
    expect_closed(&c);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    assert_int_equal(f.done, 2);
    assert_int_equal(f.sent, 2);
    assert_int_equal(f.answer_bytes, strlen(text));
    end(&f);
}

static void test_pipelined(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    start(&f, &o);
    start_threads(&f);
    join(&c, &f);
    say(&c, "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
            "GET /thread HTTP/1.1\r\nHost: h\r\n\r\n"
            "POST /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
            "GET /4 HTTP/1.1\r\nHost: h\r\n\r\n");
    static const char *const begins[] = {"POST /1 ", "/thread", "POST /3 ", "GET /4 "};
    for (int i = 0; i < 4; i++) {
        hear(&c, &a);
        assert_int_equal(a.status, 200);
        assert_memory_equal(a.text, begins[i], strlen(begins[i]));
    }
    leave(&c);
    end(&f);
}

static void test_single_bytes(void **state)
{
    (void)state;
    static const char request[] = "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    fixture f;
    http_options o;
    client c;
    answer a;
    char text[80];
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        say_bytes(&c, request + i, 1);
        usleep(500);
    }
    hear(&c, &a);
    snprintf(text, sizeof text, "POST /slow q=- host=h size=5 sum=%u secure=0", sum_of("hello", 5));
    assert_string_equal(a.text, text);
    leave(&c);
    end(&f);
}

static void test_chunked(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    char text[80];
    options_of(&o);
    start(&f, &o);
#define CHUNKED "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    snprintf(text, sizeof text, "POST / q=- host=h size=29 sum=%u secure=0", sum_of("hello, wide wild world wonder", 29));
    expect(&f, CHUNKED "5\r\nhello\r\n7;ext=1\r\n, wide \r\n0011\r\nwild world wonder\r\n0\r\nTrailer: x\r\n\r\n", 200, text);
    expect(&f, CHUNKED "0\r\n\r\n", 200, "POST / q=- host=h size=0 sum=0 secure=0");
    expect(&f, CHUNKED "zz\r\nhello\r\n0\r\n\r\n", 400, NULL);
    expect(&f, CHUNKED "-1\r\nhello\r\n0\r\n\r\n", 400, NULL);
    expect(&f, CHUNKED "5\r\nhelloX\r\n0\r\n\r\n", 400, NULL);
    expect(&f, CHUNKED "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413, NULL);
    end(&f);
}

static void test_head_and_expect(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    answer a;
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    say(&c, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
    hear_after(&c, &a, true);
    assert_int_equal(a.status, 200);
    assert_non_null(strcasestr(a.headers, "\r\nContent-Length: 4"));
    WAIT_UNTIL(f.done == 1);
    assert_int_equal(f.answer_bytes, 0); /* none were sent */
    say(&c, "GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
    hear(&c, &a); /* not off by a body that came nevertheless */
    assert_string_equal(a.text, "from a file");
    say(&c, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 100);
    say(&c, "ok");
    hear(&c, &a);
    assert_int_equal(a.status, 200);
    assert_memory_equal(a.text, "POST /x q=- host=h size=2 ", 26);
    /* refused: no 100, and what would have been the body is no request */
    say(&c, "POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 36\r\nExpect: 100-continue\r\n\r\n");
    hear(&c, &a);
    assert_int_equal(a.status, 401);
    assert_string_equal(a.text, "refused 401");
    assert_true(a.close);
    expect_closed(&c);
    leave(&c);
    end(&f);
}

static void test_cut_short(void **state)
{
    (void)state;
    fixture f;
    http_options o;
    client c;
    options_of(&o);
    start(&f, &o);
    join(&c, &f);
    say(&c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nonly this");
    WAIT_UNTIL(counts_of(&f).body_memory_bytes == 50);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    assert_int_equal(f.accepted, 1);
    assert_int_equal(f.handled, 0);
    assert_int_equal(f.done, 1);
    assert_int_equal(f.sent, 0);
    join(&c, &f);
    say(&c, "GET / HTT"); /* before it is a request */
    WAIT_UNTIL(counts_of(&f).connections == 1);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    join(&c, &f);
    say(&c, "GET /a HTTP/1.1\r\nHost: h\r\nX-Half");
    usleep(20000);
    leave(&c);
    WAIT_UNTIL(counts_of(&f).connections == 0);
    assert_int_equal(f.accepted, 1);
    end(&f);
}

/* ---- the end ---- */

/* Nothing begun is lost, nothing new is taken; the listening socket is the event thread's to the last. */
static void test_drain(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        fixture f;
        http_options o;
        client kept, waiting;
        answer a;
        options_of(&o);
        start(&f, &o);
        join(&kept, &f);
        say(&kept, "GET /kept HTTP/1.1\r\nHost: h\r\n\r\n");
        hear(&kept, &a);
        join(&waiting, &f);
        say(&waiting, "GET /park HTTP/1.1\r\nHost: h\r\n\r\n");
        WAIT_UNTIL(parked_of(&f) == 1);
        assert_false(http_server_drain(f.server, 20)); /* one is not answered yet */
        assert_int_equal(connect_to(&f), -1);
        reply_text(parked_take(&f), 200, "at last");
        hear(&waiting, &a);
        assert_string_equal(a.text, "at last");
        assert_true(a.close); /* as every answer from now on */
        assert_true(http_server_drain(f.server, 5000));
        leave(&kept);
        leave(&waiting);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive),      cmocka_unit_test(test_pipelined),
        cmocka_unit_test(test_single_bytes),    cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_head_and_expect), cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_drain),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
