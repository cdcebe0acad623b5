/* card.c - readable names of classes, from the card that a model file carries: JSON with "classes",
 * in the model's order, each with a "name" that is a text or one for each language. A card comes with
 * a model from outside: what is not as it should be counts as no name. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

struct cli_card {
    json_t *root;
    json_t *classes;
    char language[16];
};

/* `asked`, or else what the locale says: the part of LC_ALL, LC_MESSAGES or LANG before '_' or '.'. */
static void choose_language(const char *asked, char *out, size_t size)
{
    static const char *const variables[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
    for (size_t i = 0; !asked && i < 3; i++) {
        const char *value = getenv(variables[i]);
        asked = value && *value ? value : NULL;
    }
    asked = asked ? asked : "en";
    snprintf(out, size, "%.*s", (int)strcspn(asked, "_.@-"), asked);
}

cli_card *cli_card_read(const char *json, const char *language)
{
    json_t *root = json ? json_loads(json, 0, NULL) : NULL;
    cli_card *card = root ? base_calloc(BASE_TAG_CLI, 1, sizeof *card) : NULL;
    if (!card) {
        json_decref(root);
        return NULL;
    }
    card->root = root;
    card->classes = json_object_get(root, "classes");
    choose_language(language, card->language, sizeof card->language);
    return card;
}

/* Whether a terminal shows the text as it is: no control characters, C1's in UTF-8 included. */
static bool plain(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0))
            return false;
    return true;
}

const char *cli_card_name(const cli_card *card, uint32_t index)
{
    if (!card)
        return NULL;
    json_t *name = json_object_get(json_array_get(card->classes, index), "name");
    if (json_is_object(name)) {
        json_t *one = json_object_get(name, card->language);
        one = one ? one : json_object_get(name, "en");
        name = one ? one : json_object_iter_value(json_object_iter(name));
    }
    const char *text = json_string_value(name);
    return text && *text && plain(text) ? text : NULL;
}

void cli_card_free(cli_card *card)
{
    if (!card)
        return;
    json_decref(card->root);
    base_free(card);
}
