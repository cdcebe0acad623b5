/* export.c - all that an account has, as a zip of JSON and pictures, in an unnamed file. minizip does
 * the format; photographs are stored as they are, JPEG does not compress. */
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <zip.h>

#include "server/app.h"

/* ---- minizip on a stream that is open already ---- */

static voidpf give_stream(voidpf stream, const void *name, int mode)
{
    (void)name, (void)mode;
    return stream;
}

static uLong stream_write(voidpf opaque, voidpf stream, const void *bytes, uLong n)
{
    (void)opaque;
    return (uLong)fwrite(bytes, 1, n, stream);
}

static uLong stream_read(voidpf opaque, voidpf stream, void *bytes, uLong n)
{
    (void)opaque;
    return (uLong)fread(bytes, 1, n, stream);
}

static ZPOS64_T stream_tell(voidpf opaque, voidpf stream)
{
    (void)opaque;
    return (ZPOS64_T)ftello(stream);
}

static long stream_seek(voidpf opaque, voidpf stream, ZPOS64_T offset, int origin)
{
    (void)opaque;
    int whence = origin == ZLIB_FILEFUNC_SEEK_CUR ? SEEK_CUR : origin == ZLIB_FILEFUNC_SEEK_END ? SEEK_END : SEEK_SET;
    return fseeko(stream, (off_t)offset, whence);
}

static int stream_close(voidpf opaque, voidpf stream)
{
    (void)opaque;
    return fflush(stream);
}

static int stream_error(voidpf opaque, voidpf stream)
{
    (void)opaque;
    return ferror(stream);
}

/* ---- entries ---- */

static bool begin(zipFile zip, const char *name, int64_t when, bool compress)
{
    struct tm t;
    time_t at = (time_t)when;
    localtime_r(&at, &t);
    zip_fileinfo info = {.tmz_date = {.tm_sec = (uInt)t.tm_sec, .tm_min = (uInt)t.tm_min, .tm_hour = (uInt)t.tm_hour,
                                      .tm_mday = (uInt)t.tm_mday, .tm_mon = (uInt)t.tm_mon,
                                      .tm_year = (uInt)t.tm_year + 1900}};
    return zipOpenNewFileInZip64(zip, name, &info, NULL, 0, NULL, 0, NULL, compress ? Z_DEFLATED : 0,
                                 compress ? 6 : 0, 1) == ZIP_OK;
}

static int put_json(const char *bytes, size_t n, void *zip)
{
    return zipWriteInFileInZip(zip, bytes, (unsigned)n) == ZIP_OK ? 0 : -1;
}

static bool add_json(zipFile zip, const char *name, int64_t when, json_t *value)
{
    bool fine = value && begin(zip, name, when, true) &&
                json_dump_callback(value, put_json, zip, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 &&
                zipCloseFileInZip(zip) == ZIP_OK;
    json_decref(value);
    return fine;
}

static bool add_file(zipFile zip, const char *name, int64_t when, int fd)
{
    char buffer[16384];
    ssize_t n = 0;
    bool fine = begin(zip, name, when, false);
    while (fine && (n = read(fd, buffer, sizeof buffer)) > 0)
        fine = zipWriteInFileInZip(zip, buffer, (unsigned)n) == ZIP_OK;
    close(fd);
    return fine && n == 0 && zipCloseFileInZip(zip) == ZIP_OK;
}

static json_t *iso_time(int64_t when)
{
    char text[UTC_TIME_BYTES];
    app_utc_time(when, text);
    return json_string(text);
}

/* Maps as lists of rows, by class. */
static json_t *maps_json(const store_result *r)
{
    map_set set;
    json_t *out = json_array();
    float *values = NULL;
    if (!r->maps_bytes || !maps_read(r->maps, r->maps_bytes, &set) ||
        !(values = base_alloc(BASE_TAG_SERVER, (size_t)set.height * set.width * sizeof *values)))
        return out;
    for (uint32_t i = 0; i < set.count; i++) {
        bool blank;
        json_t *rows = json_array();
        maps_get(&set, maps_class(&set, i), values, &blank);
        for (uint32_t y = 0; y < set.height; y++) {
            json_t *row = json_array();
            for (uint32_t x = 0; x < set.width; x++)
                json_array_append_new(row, json_real((double)values[(size_t)y * set.width + x]));
            json_array_append_new(rows, row);
        }
        json_array_append_new(out, json_pack("{s:i, s:b, s:o}", "index", (int)maps_class(&set, i), "blank", blank,
                                             "values", rows));
    }
    base_free(values);
    return out;
}

static dermis_status add_result(server_call *call, zipFile zip, const char *id, dermis_error *err)
{
    store_result r;
    int fd;
    char name[80];
    int64_t now = app_now();
    dermis_status status = store_result_get(call->app->store, id, now, &r, err);
    if (status == DERMIS_E_NOT_FOUND) /* deleted meanwhile */
        return DERMIS_OK;
    if (status != DERMIS_OK)
        return status;
    json_t *all = json_pack("{s:s, s:o, s:b, s:o*, s:o*, s:o}", "id", r.id, "created", iso_time(r.created), "kept",
                            r.expires == 0, "answer", json_loads(r.answer, 0, NULL), "notes",
                            r.notes && *r.notes ? json_loads(r.notes, 0, NULL) : NULL, "maps", maps_json(&r));
    snprintf(name, sizeof name, "%s/result.json", id);
    bool fine = add_json(zip, name, r.created, all);
    if (fine) {
        status = store_result_photo(call->app->store, id, false, now, &fd, err);
        snprintf(name, sizeof name, "%s/photo.jpg", id);
        if (status == DERMIS_OK)
            fine = add_file(zip, name, r.created, fd);
        else if (status == DERMIS_E_NOT_FOUND)
            status = DERMIS_OK;
    }
    store_result_release(&r);
    if (!fine)
        return base_fail(err, DERMIS_E_IO, "the export cannot be written: is the disk full?");
    return status;
}

static bool collect(void *context, const store_result *r)
{
    json_array_append_new(context, json_string(r->id));
    return true;
}

static dermis_status write_all(server_call *call, zipFile zip, dermis_error *err)
{
    json_t *ids = json_array(), *id;
    store_filter filter = {.now = app_now()};
    dermis_status status = store_result_list(call->app->store, call->user.id, &filter, collect, ids, NULL, err);
    json_t *account = json_pack("{s:s, s:o, s:o, s:i}", "name", call->user.name, "created",
                                iso_time(call->user.created), "exported", iso_time(app_now()), "results",
                                (int)json_array_size(ids));
    if (!add_json(zip, "account.json", app_now(), account) && !status)
        status = base_fail(err, DERMIS_E_IO, "the export cannot be written: is the disk full?");
    size_t i;
    json_array_foreach(ids, i, id)
        if (!status)
            status = add_result(call, zip, json_string_value(id), err);
    json_decref(ids);
    return status;
}

void profile_export(server_call *call)
{
    dermis_error err;
    FILE *f = app_unnamed_file(call->app, &err);
    if (!f) {
        answer_failure(call, &err);
        return;
    }
    zlib_filefunc64_def functions = {give_stream, stream_read,  stream_write, stream_tell,
                                     stream_seek, stream_close, stream_error, f};
    zipFile zip = zipOpen2_64("export", APPEND_STATUS_CREATE, NULL, &functions);
    dermis_status status = zip ? write_all(call, zip, &err) : base_fail(&err, DERMIS_E_MEMORY, "not enough memory");
    if (zip && zipClose(zip, NULL) != ZIP_OK && !status)
        status = base_fail(&err, DERMIS_E_IO, "the export cannot be written: is the disk full?");
    if (status != DERMIS_OK) {
        answer_failure(call, &err);
        fclose(f);
        return;
    }
    answer_stream(call, "application/zip", f);
    http_answer_header(&call->answer, "Content-Disposition", "attachment; filename=\"dermis.zip\"");
}
