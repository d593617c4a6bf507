#include <limits.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/options.h"

enum { TRAIN = 1, SAMPLE = 2, BOTH = 3 };

typedef struct {
    int batch_size, steps, sampler_steps, sampler;
    int64_t seed;
    double lr, eta;
    bool learn_sigma, clip, quiet, json;
    char output[OPTION_STRING_SIZE];
    int_list channel_mult;
    real_list ema_rate;
} settings;

#define AT(field) offsetof(settings, field)
static const option table[] = {
    { "batch_size", "batch", 'b', OPT_INT, AT(batch_size), "128", 1, 100000, NULL, TRAIN, NULL, "images in a step" },
    { "lr", "learning_rate", 0, OPT_REAL, AT(lr), "1e-4", 0, 10, NULL, TRAIN, NULL, "learning rate" },
    { "steps", NULL, 0, OPT_INT, AT(steps), "1000", 0, INT_MAX, NULL, TRAIN, NULL, "training steps" },
    { "steps", NULL, 0, OPT_INT, AT(sampler_steps), "50", 1, 4000, NULL, SAMPLE, NULL, "sampling steps" },
    { "learn_sigma", NULL, 0, OPT_BOOL, AT(learn_sigma), "false", 0, 0, NULL, TRAIN, NULL, "learn the variance" },
    { "channel_mult", NULL, 0, OPT_INT_LIST, AT(channel_mult), "", 1, 64, NULL, TRAIN, NULL, "widths" },
    { "ema_rate", NULL, 0, OPT_REAL_LIST, AT(ema_rate), "0.9999", 0, 1, NULL, TRAIN, NULL, "averages' rates" },
    { "sampler", NULL, 0, OPT_CHOICE, AT(sampler), "ddim", 0, 0, "ddpm|ddim|dpm++2m|heun", SAMPLE, NULL,
      "how the chain is walked back" },
    { "eta", NULL, 0, OPT_REAL, AT(eta), "0", 0, 1, NULL, SAMPLE, NULL, "noise of DDIM" },
    { "clip_denoised", NULL, 'c', OPT_BOOL, AT(clip), "true", 0, 0, NULL, SAMPLE, NULL, "clip x0" },
    { "seed", NULL, 0, OPT_I64, AT(seed), "0", 0, 0, NULL, BOTH, NULL, "seed of all random numbers" },
    { "output", NULL, 'o', OPT_STRING, AT(output), "", 0, 0, NULL, BOTH, "OUT", "where the result goes" },
    { "quiet", NULL, 'q', OPT_BOOL, AT(quiet), "no", 0, 0, NULL, BOTH, NULL, "say nothing" },
    { "json", NULL, 'j', OPT_BOOL, AT(json), "0", 0, 0, NULL, BOTH, NULL, "one JSON document on stdout" },
    { .name = NULL },
};
enum { ROWS = sizeof table / sizeof *table - 1 };

static const option_command commands[] = {
    { "train", "DATA -o RUN [OPTION]...", "train a model", "First paragraph.\n\n.Second - paragraph.", TRAIN },
    { "sample", "MODEL -o OUT [OPTION]...", "draw images", NULL, SAMPLE },
    { "data pack", "DATA OUT", "make a cache", NULL, SAMPLE },
    { .name = NULL },
};

typedef struct { settings s; option_origin origins[ROWS]; const char *words[3]; options_parser parser; } fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    options_defaults(table, &f->s, f->origins);
    f->parser = (options_parser){ table, TRAIN, commands, &f->s, f->origins, f->words, 3, 0 };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static ddpm_status set(fixture *f, const char *name, const char *text)
{
    return options_set(table, &f->s, f->origins, name, text, ORIGIN_COMMAND_LINE);
}

/* Words separated by blanks; a lone ~ stands for an empty word. */
static ddpm_status parse(fixture *f, unsigned groups, const char *line)
{
    static const char empty[] = "";
    const char *argv[32];
    char *copy = strdup(line), *rest = NULL;
    int argc = 0;
    for (char *w = strtok_r(copy, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = strcmp(w, "~") == 0 ? empty : w;
    f->parser.groups = groups;
    const ddpm_status s = options_parse(&f->parser, argc, argv);
    /* Positionals point into the words; the tests look at them only as offsets into `line`. */
    for (int i = 0; s == DDPM_OK && i < f->parser.positional_count; i++)
        if (f->words[i] != empty) f->words[i] = line + (f->words[i] - copy);
    free(copy);
    return s;
}

static void fails(ddpm_status s, const char *part)
{
    assert_int_equal(s, DDPM_EINVAL);
    if (!strstr(ddpm_last_error(), part)) fail_msg("\"%s\" lacks \"%s\"", ddpm_last_error(), part);
}

static void test_defaults(void **state)
{
    const fixture *f = *state;
    assert_int_equal(f->s.batch_size, 128);
    assert_true(f->s.lr == 1e-4 && f->s.ema_rate.n == 1 && f->s.ema_rate.v[0] == 0.9999);
    assert_true(f->s.clip && !f->s.learn_sigma && !f->s.json);
    assert_int_equal(f->s.sampler, 1);
    assert_int_equal(f->s.channel_mult.n, 0);
    assert_string_equal(f->s.output, "");
    for (int i = 0; i < ROWS; i++) assert_int_equal(f->origins[i], ORIGIN_DEFAULT);
    assert_int_equal(options_count(table), ROWS);
}

static void test_integers(void **state)
{
    fixture *f = *state;
    assert_int_equal(set(f, "batch_size", " 64 "), DDPM_OK);
    assert_int_equal(f->s.batch_size, 64);
    const char *const wrong[] = { "", "x", "1.5", "1e3", "12k", "0x10", "--" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        fails(set(f, "batch_size", wrong[i]), "not a whole number");
    fails(set(f, "batch_size", "0"), "give 1 to 100000");
    fails(set(f, "batch_size", "100001"), "out of range");
    fails(set(f, "steps", "-1"), "give 0 or more");
    fails(set(f, "steps", "2147483648"), "out of range");
    fails(set(f, "seed", "9223372036854775808"), "out of range");
    assert_int_equal(set(f, "seed", "-9223372036854775808"), DDPM_OK);
    assert_true(f->s.seed == INT64_MIN);
    assert_int_equal(f->s.batch_size, 64);
}

static void test_reals(void **state)
{
    fixture *f = *state;
    assert_int_equal(set(f, "lr", "3e-4"), DDPM_OK);
    assert_true(f->s.lr == 3e-4);
    assert_int_equal(set(f, "lr", "0.1"), DDPM_OK);
    const char *const wrong[] = { "", "abc", "1,5", "nan", "1e", "0.1.2" };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) fails(set(f, "lr", wrong[i]), "not a number");
    fails(set(f, "lr", "inf"), "out of range");
    fails(set(f, "lr", "-0.1"), "give 0 to 10");
    assert_true(f->s.lr == 0.1);
}

static void test_booleans(void **state)
{
    fixture *f = *state;
    static const struct { const char *word; bool value; } words[] = {
        { "yes", true }, { "no", false }, { "True", true }, { "FALSE", false }, { "t", true },
        { "F", false }, { "y", true }, { "n", false }, { "1", true }, { "0", false },
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        f->s.learn_sigma = !words[i].value;
        assert_int_equal(set(f, "learn_sigma", words[i].word), DDPM_OK);
        assert_true(f->s.learn_sigma == words[i].value);
    }
    fails(set(f, "learn_sigma", "2"), "neither true nor false");
    fails(set(f, "learn_sigma", ""), "neither true nor false");
}

static void test_choices(void **state)
{
    fixture *f = *state;
    char word[OPTION_WORD_SIZE];
    assert_int_equal(set(f, "sampler", "dpm++2m"), DDPM_OK);
    assert_int_equal(f->s.sampler, 2);
    fails(set(f, "sampler", "hein"), "did you mean heun?");
    fails(set(f, "sampler", "xyzzy"), "choose from ddpm, ddim, dpm++2m, heun");
    fails(set(f, "sampler", ""), "unknown word");
    fails(set(f, "sampler", "dd"), "unknown word");
    const option *row = &table[options_find(table, "sampler")];
    assert_string_equal(options_choice(row, 3, word), "heun");
    assert_string_equal(options_choice(row, 4, word), "");
    assert_string_equal(options_choice(row, -1, word), "");
}

static void test_lists(void **state)
{
    fixture *f = *state;
    assert_int_equal(set(f, "channel_mult", "1,2, 3 ,4"), DDPM_OK);
    assert_int_equal(f->s.channel_mult.n, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(f->s.channel_mult.v[i], i + 1);
    assert_int_equal(set(f, "channel_mult", ""), DDPM_OK);
    assert_int_equal(f->s.channel_mult.n, 0);
    assert_int_equal(set(f, "channel_mult", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16"), DDPM_OK);
    assert_int_equal(f->s.channel_mult.n, 16);
    fails(set(f, "channel_mult", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"), "more than 16");
    fails(set(f, "channel_mult", "1,"), "not a whole number");
    fails(set(f, "channel_mult", ",1"), "not a whole number");
    fails(set(f, "channel_mult", "1,,2"), "not a whole number");
    fails(set(f, "channel_mult", "0,1"), "give 1 to 64");
    assert_int_equal(set(f, "ema_rate", "0.9999,0.999"), DDPM_OK);
    assert_true(f->s.ema_rate.n == 2 && f->s.ema_rate.v[1] == 0.999);
    fails(set(f, "ema_rate", "2"), "out of range");
}

static void test_strings(void **state)
{
    fixture *f = *state;
    char text[OPTION_STRING_SIZE + 1];
    memset(text, 'a', sizeof text);
    text[OPTION_STRING_SIZE] = '\0';
    fails(set(f, "output", text), "the limit is 511");
    text[OPTION_STRING_SIZE - 1] = '\0';
    assert_int_equal(set(f, "output", text), DDPM_OK);
    assert_string_equal(f->s.output, text);
}

static void test_names_and_aliases(void **state)
{
    fixture *f = *state;
    assert_int_equal(set(f, "learning-rate", "0.5"), DDPM_OK);
    assert_true(f->s.lr == 0.5);
    assert_int_equal(options_find(table, "batch"), 0);
    assert_int_equal(options_find(table, "batch-size"), 0);
    assert_int_equal(options_find(table, "batch_siz"), -1);
    assert_int_equal(options_find(table, ""), -1);
    assert_int_equal(options_find(table, "steps"), 2);
    assert_int_equal(options_find_in(table, SAMPLE, "steps"), 3);
    fails(set(f, "bach_size", "1"), "did you mean batch_size?");
    fails(set(f, "completely_else", "1"), "--help");
}

static void test_origins(void **state)
{
    fixture *f = *state;
    const struct { option_origin origin; const char *text; int expected; option_origin kept; } turns[] = {
        { ORIGIN_CONFIG, "10", 10, ORIGIN_CONFIG }, { ORIGIN_PRESET, "20", 10, ORIGIN_CONFIG },
        { ORIGIN_CHECKPOINT, "30", 10, ORIGIN_CONFIG }, { ORIGIN_CONFIG, "11", 11, ORIGIN_CONFIG },
        { ORIGIN_COMMAND_LINE, "12", 12, ORIGIN_COMMAND_LINE }, { ORIGIN_ENVIRONMENT, "13", 12, ORIGIN_COMMAND_LINE },
        { ORIGIN_COMMAND_LINE, "14", 14, ORIGIN_COMMAND_LINE },
    };
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++) {
        assert_int_equal(options_set(table, &f->s, f->origins, "batch_size", turns[i].text, turns[i].origin), DDPM_OK);
        assert_int_equal(f->s.batch_size, turns[i].expected);
        assert_int_equal(f->origins[0], turns[i].kept);
    }
    fails(options_set(table, &f->s, f->origins, "batch_size", "x", ORIGIN_DEFAULT), "batch_size: \"x\"");
    assert_string_equal(options_origin_name(ORIGIN_PRESET), "preset");
    assert_string_equal(options_origin_name(ORIGIN_COMMAND_LINE), "command line");
}

static void test_print_reads_back(void **state)
{
    fixture *f = *state;
    const struct { const char *name, *text; } values[] = {
        { "batch_size", "77" }, { "lr", "0.0001" }, { "lr", "0.10000000000000001" }, { "lr", "0.3333333333333333" },
        { "learn_sigma", "true" }, { "channel_mult", "1,2,4" }, { "ema_rate", "0.9999,0.999" },
        { "sampler", "heun" }, { "seed", "-5" }, { "output", "a b" }, { "channel_mult", "" },
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[OPTION_TEXT_SIZE];
        assert_int_equal(set(f, values[i].name, values[i].text), DDPM_OK);
        options_print(table, &f->s, options_find(table, values[i].name), text);
        assert_string_equal(text, i == 2 ? "0.1" : values[i].text);
        const settings before = f->s;
        assert_int_equal(set(f, values[i].name, text), DDPM_OK);
        assert_memory_equal(&before, &f->s, sizeof before);
    }
}

static void test_parse_spellings(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse(f, TRAIN, "DATA --batch-size 8 --lr=2e-4 -o run --learn_sigma True --channel_mult 1,2 extra"),
                     DDPM_OK);
    assert_int_equal(f->s.batch_size, 8);
    assert_true(f->s.lr == 2e-4 && f->s.learn_sigma && f->s.channel_mult.n == 2);
    assert_string_equal(f->s.output, "run");
    assert_int_equal(f->parser.positional_count, 2);
    assert_true(strncmp(f->words[0], "DATA", 4) == 0 && strcmp(f->words[1], "extra") == 0);
    assert_int_equal(f->origins[0], ORIGIN_COMMAND_LINE);

    assert_int_equal(parse(f, TRAIN, "-b16 -qj -oelse"), DDPM_OK);
    assert_int_equal(f->s.batch_size, 16);
    assert_true(f->s.quiet && f->s.json);
    assert_string_equal(f->s.output, "else");

    assert_int_equal(parse(f, TRAIN, "-qb 4 --seed -1"), DDPM_OK);
    assert_int_equal(f->s.batch_size, 4);
    assert_true(f->s.seed == -1);

    assert_int_equal(parse(f, TRAIN, "--channel_mult ~ --output= --batch 5 --batch 6"), DDPM_OK);
    assert_int_equal(f->s.channel_mult.n, 0);
    assert_string_equal(f->s.output, "");
    assert_int_equal(f->s.batch_size, 6);

    assert_int_equal(parse(f, SAMPLE, "--steps 7"), DDPM_OK);
    assert_int_equal(f->s.sampler_steps, 7);
    assert_int_equal(f->s.steps, 1000);
}

static void test_parse_flags(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse(f, SAMPLE, "--no-clip_denoised MODEL"), DDPM_OK);
    assert_false(f->s.clip);
    assert_int_equal(parse(f, SAMPLE, "--clip-denoised MODEL"), DDPM_OK);
    assert_true(f->s.clip);
    assert_int_equal(f->parser.positional_count, 1);
    assert_int_equal(parse(f, SAMPLE, "--no_clip_denoised"), DDPM_OK);
    assert_false(f->s.clip);
    assert_int_equal(parse(f, SAMPLE, "--clip_denoised=yes"), DDPM_OK);
    assert_true(f->s.clip);
    assert_int_equal(parse(f, SAMPLE, "--clip_denoised False MODEL"), DDPM_OK);
    assert_false(f->s.clip);
    assert_int_equal(f->parser.positional_count, 1);
    fails(parse(f, SAMPLE, "--clip_denoised=maybe"), "neither true nor false");
    fails(parse(f, SAMPLE, "--no-clip_denoised=yes"), "takes no value");
    fails(parse(f, SAMPLE, "--no-eta"), "only a flag");
    fails(parse(f, SAMPLE, "--no-clip_denoise"), "did you mean --clip_denoised?");
}

static void test_parse_positionals(void **state)
{
    fixture *f = *state;
    assert_int_equal(parse(f, TRAIN, "a - -- --lr"), DDPM_OK);
    assert_int_equal(f->parser.positional_count, 3);
    assert_true(strcmp(f->words[2], "--lr") == 0 && f->words[1][0] == '-');
    fails(parse(f, TRAIN, "a b c d"), "unexpected argument \"d\"");
    assert_int_equal(parse(f, TRAIN, ""), DDPM_OK);
    assert_int_equal(f->parser.positional_count, 0);
}

static void test_parse_mistakes(void **state)
{
    fixture *f = *state;
    fails(parse(f, TRAIN, "--lerning_rate 1"), "unknown option --lerning_rate; did you mean --lr?");
    fails(parse(f, TRAIN, "--batch_szie=1"), "unknown option --batch_szie; did you mean --batch_size?");
    fails(parse(f, TRAIN, "--learn"), "did you mean --learn_sigma?");
    fails(parse(f, TRAIN, "--frobnicate"), "unknown option --frobnicate; --help");
    fails(parse(f, TRAIN, "--eta 1"), "--eta is an option of sample, data pack, not of this command");
    fails(parse(f, TRAIN, "-c"), "-c is an option of sample");
    fails(parse(f, TRAIN, "-z"), "unknown option -z");
    fails(parse(f, TRAIN, "--lr"), "--lr needs a value: --lr X");
    fails(parse(f, TRAIN, "-o"), "-o needs a value: -o OUT");
    fails(parse(f, TRAIN, "--output --lr 3"), "--output needs a value");
    fails(parse(f, TRAIN, "--lr abc"), "--lr: \"abc\" is not a number");
    fails(parse(f, TRAIN, "--=3"), "unknown option --");
    fails(parse(f, TRAIN, "---"), "unknown option ---");
    char line[400] = "--";
    memset(line + 2, 'x', 300);
    fails(parse(f, TRAIN, line), "unknown option --xxx");
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = { "train", "sample", "nll", "eval", NULL };
    assert_string_equal(options_nearest_word(words, "trian"), "train");
    assert_string_equal(options_nearest_word(words, "smaple"), "sample");
    assert_string_equal(options_nearest_word(words, "sam"), "sample");
    assert_string_equal(options_nearest_word(words, "nl"), "nll");
    assert_null(options_nearest_word(words, "upload"));
    assert_null(options_nearest_word(words, ""));
    assert_null(options_nearest_word(words, "ev"));
    assert_null(options_nearest(table, SAMPLE, "learn_sigm"));
    assert_string_equal(options_nearest(table, TRAIN, "learn_sigm"), "learn_sigma");
}

static char *environment(const char *name)
{
    static char batch[] = "32", sampler[] = "nonsense", empty[] = "";
    if (strcmp(name, "DDPM_BATCH_SIZE") == 0) return batch;
    if (strcmp(name, "DDPM_SAMPLER") == 0) return sampler;
    if (strcmp(name, "DDPM_LR") == 0) return empty;
    return NULL;
}

static void test_environment(void **state)
{
    fixture *f = *state;
    assert_int_equal(options_environment(table, TRAIN, environment, &f->s, f->origins), DDPM_OK);
    assert_int_equal(f->s.batch_size, 32);
    assert_int_equal(f->origins[0], ORIGIN_ENVIRONMENT);
    assert_int_equal(f->origins[options_find(table, "lr")], ORIGIN_DEFAULT);
    fails(options_environment(table, BOTH, environment, &f->s, f->origins), "DDPM_SAMPLER: unknown word");
    assert_int_equal(parse(f, TRAIN, "--batch_size 9"), DDPM_OK);
    assert_int_equal(options_environment(table, TRAIN, environment, &f->s, f->origins), DDPM_OK);
    assert_int_equal(f->s.batch_size, 9);
}

static void test_environment_misspelt(void **state)
{
    (void)state;
    char batch[] = "DDPM_BATCH_SIZES=32", right[] = "DDPM_BATCH_SIZE=32", other[] = "PATH=/bin", far[] = "DDPM_LIBRARY=/usr/lib", half[] = "DDPM_", late[] = "DDPM_Batch-Siz";
    char *const all[] = { other, right, batch, far, half, late, NULL };
    const char *meant = NULL;
    int at = 0;
    assert_ptr_equal(options_environment_misspelt(table, all, &at, &meant), batch);
    assert_string_equal(meant, "batch_size");
    assert_int_equal(at, 3);
    assert_ptr_equal(options_environment_misspelt(table, all, &at, &meant), late);
    assert_null(options_environment_misspelt(table, all, &at, &meant));
}

/* A program that has set a locale with a decimal comma still reads and writes points. */
static void test_locale(void **state)
{
    fixture *f = *state;
    static const char *const names[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE.utf8", "de_DE" };
    bool comma = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !comma; i++) comma = setlocale(LC_NUMERIC, names[i]);
    if (!comma) skip();
    char text[OPTION_TEXT_SIZE];
    assert_int_equal(set(f, "lr", "0.25"), DDPM_OK);
    assert_true(f->s.lr == 0.25);
    options_print(table, &f->s, options_find(table, "lr"), text);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(text, "0.25");
}

typedef struct { char *text; size_t size; FILE *f; } output;

static void contains(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("output lacks \"%s\":\n%s", part, text);
}

static void test_help(void **state)
{
    (void)state;
    output o = { 0 };
    o.f = open_memstream(&o.text, &o.size);
    options_help(o.f, table, TRAIN);
    fclose(o.f);
    for (const char *line = o.text; *line; line = strchr(line, '\n') + 1)
        assert_true(strcspn(line, "\n") <= 80);
    contains(o.text, "  -b, --batch_size N        images in a step. Default: 128. Also --batch.\n");
    contains(o.text, "      --[no-]learn_sigma");
    contains(o.text, "-o, --output OUT");
    assert_null(strstr(o.text, "--eta"));
    for (int i = 0; i < ROWS; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", table[i].type == OPT_BOOL ? "--[no-]" : "--", table[i].name);
        if (table[i].groups & TRAIN) contains(o.text, name);
    }
    free(o.text);
}

/* 52 columns remain beside the names: 25 letters with blanks and a pair fill them
 * exactly; 26 letters with blanks take 51, and a 27th would need 53. */
static void test_help_wraps(void **state)
{
    (void)state;
    static const option one[] = {
        { "a", NULL, 0, OPT_BOOL, 0, NULL, 0, 0, NULL, 1, NULL,
          "x x x x x x x x x x x x x x x x x x x x x x x x x xx"
          " x x x x x x x x x x x x x x x x x x x x x x x x x x x x x x" },
        { .name = NULL },
    };
    output o = { 0 };
    o.f = open_memstream(&o.text, &o.size);
    options_help(o.f, one, 1);
    fclose(o.f);
    const size_t first = strcspn(o.text, "\n"), second = strcspn(o.text + first + 1, "\n");
    assert_int_equal(first, 28 + 25 * 2 + 2);
    assert_int_equal(second, 28 + 26 * 2 - 1);
    free(o.text);
}

static void test_man(void **state)
{
    (void)state;
    output o = { 0 };
    o.f = open_memstream(&o.text, &o.size);
    options_man(o.f, "ddpm", "1.0", table, commands, &commands[0]);
    options_man(o.f, "ddpm", "1.0", table, commands, NULL);
    fclose(o.f);
    contains(o.text, ".TH \"DDPM-TRAIN\" 1 \"\" \"ddpm 1.0\" \"User Commands\"\n.SH NAME\nddpm\\-train \\- train a model\n");
    contains(o.text, ".SH SYNOPSIS\n.B ddpm train DATA \\-o RUN [OPTION]...\n");
    contains(o.text, "\n.PP\n\\&.Second \\- paragraph.\n");
    contains(o.text, ".TP\n.B \\-b, \\-\\-batch_size N\nimages in a step. Default: 128.");
    contains(o.text, ".TP\n.B data pack\nmake a cache; see ddpm\\-data\\-pack\n");
    free(o.text);
}

static void test_completions(void **state)
{
    (void)state;
    static void (*const writers[])(FILE *, const char *, const option *, const option_command *) = {
        options_complete_bash, options_complete_zsh, options_complete_fish,
    };
    for (size_t k = 0; k < sizeof writers / sizeof *writers; k++) {
        output o = { 0 };
        o.f = open_memstream(&o.text, &o.size);
        writers[k](o.f, "ddpm", table, commands);
        fclose(o.f);
        for (int i = 0; i < ROWS; i++) contains(o.text, table[i].name);
        contains(o.text, "ddpm ddim dpm++2m heun");
        contains(o.text, "pack");
        free(o.text);
    }
}

/* bash itself completes with what we wrote. */
static void test_bash_completes(void **state)
{
    (void)state;
    char path[] = "/tmp/ddpm-completion-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    options_complete_bash(f, "ddpm", table, commands);
    fputs("ask() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _ddpm; echo \"${COMPREPLY[*]}\"; }\n"
          "ask ddpm s\nask ddpm sample --et\nask ddpm sample --sampler dp\nask ddpm data ''\n"
          "ask ddpm train --et\nask ddpm data pack --st\n", f);
    fclose(f);
    char command[128], got[512] = "";
    snprintf(command, sizeof command, "bash %s 2>&1", path);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    const size_t n = fread(got, 1, sizeof got - 1, p);
    const int rc = pclose(p);
    remove(path);
    got[n] = '\0';
    if (rc != 0 && strstr(got, "not found")) skip();
    assert_string_equal(got, "sample\n--eta\ndpm++2m\npack\n\n--steps\n");
}

static void test_schema(void **state)
{
    (void)state;
    output o = { 0 };
    o.f = open_memstream(&o.text, &o.size);
    options_schema(o.f, "a \"title\"", table, TRAIN);
    fclose(o.f);
    contains(o.text, "\"title\": \"a \\\"title\\\"\"");
    contains(o.text, "\"batch_size\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 100000, \"default\": 128, "
                     "\"description\": \"images in a step\"}");
    contains(o.text, "\"channel_mult\": {\"type\": \"array\", \"maxItems\": 16, \"items\": {\"type\": \"integer\", "
                     "\"minimum\": 1, \"maximum\": 64}, \"default\": []");
    contains(o.text, "\"learn_sigma\": {\"type\": \"boolean\", \"default\": false");
    assert_null(strstr(o.text, "eta\""));
    assert_null(strstr(o.text, ",\n  }"));
    free(o.text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_defaults), CASE(test_integers), CASE(test_reals), CASE(test_booleans), CASE(test_choices),
        CASE(test_lists), CASE(test_strings), CASE(test_names_and_aliases), CASE(test_origins),
        CASE(test_print_reads_back), CASE(test_parse_spellings), CASE(test_parse_flags),
        CASE(test_parse_positionals), CASE(test_parse_mistakes), CASE(test_nearest), CASE(test_environment), CASE(test_environment_misspelt),
        CASE(test_locale), CASE(test_help), CASE(test_help_wraps), CASE(test_man), CASE(test_completions), CASE(test_bash_completes),
        CASE(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
