/* card.c - the card that a model file carries: JSON with "classes", in the model's order, and texts about
 * the whole; each text is a string or one for each language. A card comes with a model from outside:
 * what is not as it should be counts as not there. Immutable once read: any thread. */
#include <jansson.h>
#include <string.h>

#include "base/base.h"
#include "engine/dermis.h"

struct dermis_card {
    json_t *root;
};

dermis_card *dermis_card_read(const char *json)
{
    json_t *root = json ? json_loads(json, 0, NULL) : NULL;
    dermis_card *card = json_is_object(root) ? base_calloc(BASE_TAG_ENGINE, 1, sizeof *card) : NULL;
    if (!card) {
        json_decref(root);
        return NULL;
    }
    card->root = root;
    return card;
}

void dermis_card_free(dermis_card *card)
{
    if (!card)
        return;
    json_decref(card->root);
    base_free(card);
}

static const char *text_of(json_t *value, const char *language)
{
    if (json_is_object(value)) {
        json_t *one = json_object_get(value, language);
        one = one ? one : json_object_get(value, "en");
        value = one ? one : json_object_iter_value(json_object_iter(value));
    }
    const char *text = json_string_value(value);
    for (size_t left = text ? strlen(text) : 0, n; left; left -= n)
        if ((n = base_utf8_next_printable(text + strlen(text) - left, left)) == 0)
            return NULL;
    return text && *text ? text : NULL;
}

static json_t *class_at(const dermis_card *card, uint32_t index)
{
    return card ? json_array_get(json_object_get(card->root, "classes"), index) : NULL;
}

const char *dermis_card_name(const dermis_card *card, uint32_t index, const char *language)
{
    return text_of(json_object_get(class_at(card, index), "name"), language);
}

const char *dermis_card_class_text(const dermis_card *card, uint32_t index, const char *what, const char *language)
{
    return text_of(json_object_get(class_at(card, index), what), language);
}

const char *dermis_card_urgency(const dermis_card *card, uint32_t index)
{
    static const char *const known[] = {"days", "weeks", "watch", "harmless"};
    const char *text = json_string_value(json_object_get(class_at(card, index), "urgency"));
    for (size_t i = 0; text && i < sizeof known / sizeof *known; i++)
        if (strcmp(text, known[i]) == 0)
            return known[i];
    return NULL;
}

const char *dermis_card_about(const dermis_card *card, const char *key, const char *language)
{
    return card ? text_of(json_object_get(card->root, key), language) : NULL;
}
