/* import.c - one import from beginning to end. */
#include "import/internal.h"

#include <string.h>

dermis_status import_run(const import_options *options, import_summary *summary, dermis_error *err)
{
    dermis_error mine;
    import_context context = {.options = options, .err = &mine, .file = -1}, *c = &context;
    import_summary made;
    memset(&mine, 0, sizeof mine);
    if (!options || !options->in || !options->out)
        return base_fail(err, DERMIS_E_USAGE, "import: input and output must be named");
    if (options->type != MODEL_F32 && options->type != MODEL_F16)
        return base_fail(err, DERMIS_E_USAGE, "import: unknown weight type %d", options->type);
    c->keep = json_array();
    dermis_status status =
        c->keep ? DERMIS_OK : import_fail(c, DERMIS_E_MEMORY, "out of memory while converting");
    import_progress(c, 0, "reading");
    if (status == DERMIS_OK)
        status = import_container_open(c);
    if (status == DERMIS_OK)
        status = import_build(c);
    if (status == DERMIS_OK)
        status = import_lower(c);
    if (status == DERMIS_OK)
        status = import_finish(c, &made);
    import_container_close(c);
    json_decref(c->keep);
    base_free(c->nodes);
    base_free(c->layers);
    for (size_t i = 0; i < c->block_count; i++)
        base_free(c->blocks[i]);
    base_free(c->blocks);
    if (status != DERMIS_OK) { /* a message in every case: deep helpers only say "no memory" */
        if (mine.status == DERMIS_OK)
            import_fail(c, status, "%s: %s", options->in, base_status_text(status));
        bool of_file = mine.status != DERMIS_E_USAGE && mine.status != DERMIS_E_IO;
        if (of_file && !strstr(mine.text, options->in))
            base_fail_prefix(&mine, "%s", options->in);
        if (err)
            *err = mine;
        return mine.status;
    }
    if (summary)
        *summary = made;
    return DERMIS_OK;
}
