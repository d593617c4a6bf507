/* The program: which command, which options; the rest is in the commands' files. */
#include "command.h"
#include "signals.h"
#include "terminal.h"
#include "words.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_OUTPUT = 74 };

static const char PROGRAM[] = "ddpm";

static const option_command commands[] = {
    { "train", "DATA -o RUN [OPTION]...", "train a model on images, or go on with a run",
      "DATA is a folder of images (sub-folders are classes), an IDX pair, CIFAR-10 binary batches or one of the other forms `ddpm info` knows. "
      "The same command again goes on where the run stopped. --set NAME=VALUE is another way to write --NAME VALUE.\n\n"
      "SIGINT and SIGTERM finish the step, save and exit with 130 or 143; a second SIGINT leaves at once; SIGUSR1 saves and exits with 75, SIGUSR2 saves and "
      "goes on.",
      GROUP_TRAIN },
    { "classifier", "train DATA -o RUN [OPTION]...", "train a classifier of noisy images, for guidance and for distances",
      "The way down of a network, its mean over the image and a layer to the classes of DATA, trained on images with the noise of all timesteps (Dhariwal & "
      "Nichol 2021, section 4). Everything else is as in `ddpm train`, but the defaults, which are those of guided-diffusion's classifier_train.py; its names of options "
      "are taken too.",
      GROUP_TRAIN | GROUP_CLASSIFIER },
    { "sample", "MODEL -o OUT [OPTION]...", "draw images from a model",
      "MODEL is a run folder, a diffusers pipeline folder, a checkpoint or the name of a bundled model. OUT is a .png grid, an .npz in OpenAI's form, "
      "a folder, or a film of the steps: a .gif, or with --film a .png that has a row for each image. With --sheet N OUT.png or OUT.svg has N images of each "
      "class in a "
      "row, with its name.",
      GROUP_SAMPLE },
    { "nll", "MODEL DATA [OPTION]...", "bits per dimension of images under a model",
      "The variational bound as the authors compute it: every one of the T terms has fresh noise, x_0 is clipped. MODEL is what `ddpm sample` takes, DATA what "
      "`ddpm train` takes. With --steps K an image's bound is estimated from K of its terms, without bias and with an error. -o FILE.csv has a line for each "
      "image, -o FILE.npz every term, -o FILE.svg or FILE.png charts of the terms over t.",
      GROUP_NLL },
    { "eval", "SAMPLES REFERENCE [OPTION]...", "how far a set of images is from another",
      "The Frechet distance of the two sets, as Gaussians in the space of --features, and what else --metrics names. Each set is images, what `ddpm train` takes as "
      "DATA (`fashion:test`) or an .npz in OpenAI's form, or an .npz with features [n,d] of any network. REFERENCE, or both, may be statistics: what --save_stats "
      "wrote, or mu and sigma of pytorch-fid or guided-diffusion. The floor, what real images get, is the same command with held-out images as SAMPLES.\n\n"
      "With --sweep SAMPLES is a model, and the result a table: what its images measure for every combination of sampling options. The options of drawing are for "
      "--sweep alone.",
      GROUP_EVAL | GROUP_SWEEP },
    { "features", "DATA -o FILE.npz [OPTION]...", "features of images, for `ddpm eval` later or on several machines",
      "DATA is what `ddpm eval` takes as SAMPLES. The file holds a row for each image, logits and spatial features where the network has them, the images' "
      "numbers and the name of the "
      "features. With --part I/N a machine makes its part; `ddpm eval --merge` reads a folder of all parts, with the numbers of a single file.",
      GROUP_FEATURES },
    { "neighbours", "SAMPLES DATA -o OUT.png [OPTION]...", "the training images that samples are nearest to, to see copies",
      "OUT.png has rows for some of the samples, a choice by --seed: the sample, then its nearest images of DATA by Euclidean distance of the pixels, or of --features. "
      "OUT.svg is the histogram of the "
      "distances to the nearest image, of the samples and of --control: images that were not trained on (`fashion:test`). Copies would lie nearer than those.",
      GROUP_NEIGHBOURS },
    { "interpolate", "MODEL A B [C D] -o OUT [OPTION]...", "images between two images or two seeds",
      "A and B are image files, or seed:N, the latent of that seed. DDIM's way: their latents, walked spherically from one to the other; with --at, DDPM's: "
      "both with noise added, "
      "mixed, and drawn from there. Four of them make a grid with A, B, C, D in its corners. OUT is a .png, or a .gif that moves.",
      GROUP_INTERPOLATE },
    { "encode", "MODEL DATA -o LATENTS.safetensors [OPTION]...", "latents of images, by walking DDIM backwards",
      "Also walks down again and says how well the images come back. Nothing is clipped unless --clip asks for it; more --steps lose less.", GROUP_ENCODE },
    { "decode", "MODEL LATENTS.safetensors -o OUT [OPTION]...", "images of latents, over the chain and with the classes of `ddpm encode`",
      "OUT is a .png grid, an .npz in OpenAI's form, or a folder.", GROUP_DECODE },
    { "progressive", "MODEL DATA -o FOLDER [OPTION]...", "pictures of progressive generation, and the rate-distortion curve of images",
      "FOLDER gets x0.png and x0.gif (what x_0 looks like at times of the chain), shared.png (images that share x_t), both also as -sheet files with the "
      "times beside them, rate_distortion.csv and its charts: how many bits per "
      "dimension a receiver of x_t has got, and how far x_0 still is from the image (DDPM, section 4.3), over N images of DATA. "
      "--spacing, --steps, --compat and --guidance are for the pictures; the bound always has all T terms, or those of --timestep_respacing.",
      GROUP_PROGRESSIVE },
    { "convert", "MODEL OUT [OPTION]...", "write a model in a form that other programs open",
      "MODEL is what `ddpm sample` takes. OUT gets its weights and description, not the state of a run: a folder that diffusers opens too, OUT.pt for "
      "improved-diffusion, "
      "OUT.ckpt for ermongroup/ddim, or OUT.safetensors. A form that cannot represent the model is refused with the reason.", GROUP_CONVERT },
    { "data", "pack DATA OUT.ddpmdata|verify FILE.ddpmdata [OPTION]...", "decode a data set once into a file that is mapped from then on",
      "`data pack` writes the images of DATA, which is what `ddpm train` takes or the folder of an LMDB database (LSUN), in the size and channels asked for, "
      "with labels "
      "and class names. Every command takes the file as DATA, and reads it without decoding and without copying. Bad images are left out and named. "
      "`data verify` compares all of a file with its SHA-256; opening it checks its header, sizes and labels.", GROUP_DATA },
    { "info", "PATH [OPTION]...", "say what a model, run, data set, sample or configuration is", NULL, GROUP_INFO },
    { "plan", "train DATA|classifier DATA|sample MODEL [OPTION]...", "memory, disk and time that a command needs, before it runs",
      "Takes the options of the command it plans.", GROUP_PLAN | GROUP_TRAIN | GROUP_SAMPLE | GROUP_CLASSIFIER },
    { "plot", "RUN... [OPTION]...", "charts of how training went: loss, validation, learning rate, gradients",
      "RUN is a run folder; up to four are drawn over each other. The charts go to RUN/curves.svg, or to the .svg or .png of -o, which several runs need. Lines are "
      "running means, bands what the single values reach.", GROUP_PLOT },
    { "bench", "[OPTION]...", "times of a training step and of sampling, next to the machine's ceiling",
      "Of the network of --preset (ddpm-cifar10) with --batch_size images (32) of noise. Every figure is the median of --repeats; ceilings are measured "
      "between them, and "
      "percentages are of those measured beside the work. --ops splits a step into operators and what is around them. --compare FILE measures what FILE, an "
      "earlier --json "
      "document, measured, and ends with status 1 when time, as a share of the ceiling, or memory became worse by more than the noise. -o FILE keeps the document.",
      GROUP_BENCH },
    { "doctor", "[OPTION]...", "what the machine offers, and a short self-test", NULL, GROUP_DOCTOR },
    { "help", "[COMMAND]", "help of the program or of a command", NULL, 0 },
    { "man", "[COMMAND]", "manual page, for man -l -", NULL, 0 },
    { "completion", "bash|zsh|fish", "completion script for a shell", NULL, 0 },
    { 0 }
};

/* What runs the commands that take options; `signals`: they ask for requests between steps. */
static const struct { const char *name; command_run run; int words; bool signals; } runs[] = {
    { "train", cmd_train, 1, true },             { "classifier", cmd_classifier, 3, true },   { "sample", cmd_sample, 1, true },
    { "nll", cmd_nll, 2, true },                 { "eval", cmd_eval, 2, true },               { "features", cmd_features, 1, true },
    { "neighbours", cmd_neighbours, 2, true },   { "interpolate", cmd_interpolate, 5, true }, { "encode", cmd_encode, 2, true },
    { "decode", cmd_decode, 2, true },           { "progressive", cmd_progressive, 2, true }, { "convert", cmd_convert, 2, false },
    { "data", cmd_data, 3, true },               { "info", cmd_info, 1, false },              { "plan", cmd_plan, 2, false },
    { "plot", cmd_plot, 4, false },              { "bench", cmd_bench, 0, false },            { "doctor", cmd_doctor, 0, false },
};

static const option_command *find_command(const char *name)
{
    const option_command *c = commands;
    while (c->name && strcmp(c->name, name)) c++;
    return c->name ? c : NULL;
}

/* --- output ---------------------------------------------------------------------- */

static void complain(const char *command, const char *sentence)
{
    char text[LOG_MAX];
    snprintf(text, sizeof text, "%s%s%s: %s", PROGRAM, command ? " " : "", command ? command : "", sentence);
    log_stderr(NULL, LOG_INFO, text);
}

/* Everything printed must have arrived. A reader that went away had enough. */
static int finish_output(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    if (errno == EPIPE) return status;
    complain(NULL, "standard output could not be written; is the disk full?");
    return status ? status : EXIT_OUTPUT;
}

static void print_document(const json *document)
{
    char *text = json_text(document, 2);
    if (text) puts(text);
    free(text);
}

static int fail(const char *command, bool as_json, int status)
{
    const char *sentence = ddpm_last_error();
    complain(command, sentence);
    if (as_json) {
        json *o = json_new_object(), *e = json_new_object();
        json_put_string(e, "command", command ? command : "");
        json_put_string(e, "message", sentence);
        json_put_int(e, "exit_status", status);
        json_put_string(o, "schema", "ddpm-error-1");
        json_put(o, "error", e);
        print_document(o);
        json_free(o);
    }
    return finish_output(status);
}

/* --- help and generators ------------------------------------------------------------ */

static void help_program(FILE *f)
{
    fprintf(f, "Usage: %s COMMAND [WORD]... [OPTION]...\n\nTrains, samples and measures diffusion models on images.\n\n", PROGRAM);
    for (const option_command *c = commands; c->name; c++) fprintf(f, "  %-12s %s\n", c->name, c->summary);
    fprintf(f, "\n`%s help COMMAND` shows the options of a command, `%s --version --build_info` what this build consists of.\n", PROGRAM, PROGRAM);
}

static void help_command(FILE *f, const option_command *c)
{
    fprintf(f, "Usage: %s %s %s\n\n%c%s.\n", PROGRAM, c->name, c->synopsis, c->summary[0] - 'a' + 'A', c->summary + 1);
    if (c->details) fprintf(f, "\n%s\n", c->details);
    if (c->group) fprintf(f, "\nOptions (_ and - in names are the same):\n");
    options_help(f, settings_options, c->group);
}

static int unknown_command(const char *name, bool as_json)
{
    const char *names[32];
    int n = 0;
    for (; commands[n].name && n < 31; n++) names[n] = commands[n].name;
    names[n] = NULL;
    const char *near = options_nearest_word(names, name);
    ddpm_fail(DDPM_EINVAL, "there is no command \"%.100s\"%s%s%s; `%s help` lists them", name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "", PROGRAM);
    return fail(NULL, as_json, EXIT_USAGE);
}

static int print_version(bool details)
{
    char *text = NULL;
    printf("%s %s\n", PROGRAM, DDPM_VERSION);
    if (details && program_build_info(&text, NULL) != DDPM_OK) return fail(NULL, false, EXIT_FAILURE);
    if (text) fputs(text, stdout);
    free(text);
    return finish_output(0);
}

static int print_completion(const char *shell)
{
    if (!strcmp(shell, "bash")) options_complete_bash(stdout, PROGRAM, settings_options, commands);
    else if (!strcmp(shell, "zsh")) options_complete_zsh(stdout, PROGRAM, settings_options, commands);
    else if (!strcmp(shell, "fish")) options_complete_fish(stdout, PROGRAM, settings_options, commands);
    else {
        ddpm_fail(DDPM_EINVAL, "there is no completion for \"%.100s\"; the shells are bash, zsh and fish", shell);
        return fail("completion", false, EXIT_USAGE);
    }
    return finish_output(0);
}

/* Whether a command begins with this word: "train" of "train DATA -o RUN", "verify" of "pack DATA OUT|verify FILE". */
static bool has_action(const option_command *c, const char *word)
{
    const size_t n = strlen(word);
    for (const char *at = c->synopsis; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (n && !strncmp(at, word, n) && at[n] == ' ') return true;
    }
    return false;
}

/* help, man and completion take at most one word; help and man also the word behind a command that says what it does. */
static int run_generator(const option_command *self, int argc, char **argv)
{
    static const char *const HELP[] = { "--help", "-h", NULL };
    const option_command *longer = argc == 2 && strcmp(self->name, "completion") ? find_command(argv[0]) : NULL;
    if (longer && has_action(longer, argv[1])) argc = 1;
    if (argc > 1 || (argc && argv[0][0] == '-') || words_have(argc, argv, HELP)) {
        if (words_have(argc, argv, HELP)) {
            help_command(stdout, self);
            return finish_output(0);
        }
        ddpm_fail(DDPM_EINVAL, "unexpected argument \"%.100s\"; usage: %s %s %s", argv[argc - 1], PROGRAM, self->name, self->synopsis);
        return fail(self->name, false, EXIT_USAGE);
    }
    if (!strcmp(self->name, "completion")) return print_completion(argc ? argv[0] : "");
    const option_command *c = argc ? find_command(argv[0]) : NULL;
    if (argc && !c) return unknown_command(argv[0], false);
    if (!strcmp(self->name, "man")) options_man(stdout, PROGRAM, DDPM_VERSION, settings_options, commands, c);
    else if (c) help_command(stdout, c);
    else help_program(stdout);
    return finish_output(0);
}

/* --- commands with options --------------------------------------------------------------- */

/* The library reads no environment, so the program tells it where users keep caches. */
static ddpm_status set_cache(settings *s)
{
    char path[OPTION_STRING_SIZE];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (s->v.cache_dir[0] || ((!cache || !cache[0]) && (!home || !home[0]))) return DDPM_OK;
    const int n = cache && cache[0] ? snprintf(path, sizeof path, "%s", cache) : snprintf(path, sizeof path, "%s/.cache", home);
    return n < OPTION_STRING_SIZE ? settings_set(s, "cache_dir", path, ORIGIN_DEFAULT) : DDPM_OK;
}

static ddpm_status read_options(const option_command *c, int max_words, int argc, char **argv, invocation *call)
{
    settings_defaults(&call->s);
    int n;
    const char **words = words_expand(argc, argv, &n);
    if (!words) return ddpm_fail(DDPM_ENOMEM, "no memory for the command line");
    options_parser p = { .table = settings_options, .groups = c->group, .commands = commands, .settings = &call->s.v, .origins = call->s.origins,
                         .positionals = call->words, .max_positionals = max_words };
    ddpm_status status = options_parse(&p, n, words);
    call->count = p.positional_count;
    free(words);
    if (status == DDPM_OK) status = options_environment(settings_options, c->group, getenv, &call->s.v, call->s.origins);
    if (status == DDPM_OK) status = set_cache(&call->s);
    return status;
}

/* A setting that a user believes to have made must not vanish. */
static void warn_misspelt(void)
{
    const char *meant, *entry;
    int at = 0;
    while ((entry = options_environment_misspelt(settings_options, environ, &at, &meant)))
        log_warn("the variable %.*s is ignored: no option has that name; the nearest is --%s", (int)strcspn(entry, "="), entry, meant);
}

static int report(const option_command *c, const invocation *call, ddpm_status status, bool as_json)
{
    if (status == DDPM_ESTOPPED) return fail(c->name, as_json, signals_exit_status());
    if (status != DDPM_OK && !call->text && !call->document) return fail(c->name, as_json, ddpm_exit_status(status));
    if (as_json && call->document) print_document(call->document);
    if (!as_json && call->text) fputs(call->text, stdout);
    if (status != DDPM_OK) complain(c->name, ddpm_last_error());
    return finish_output(ddpm_exit_status(status));
}

static int run_command(const option_command *c, size_t index, int argc, char **argv, bool as_json)
{
    invocation *call = calloc(1, sizeof *call);
    char *line = words_line(argc, argv);
    terminal t;
    if (!call || !line) return EXIT_FAILURE;
    ddpm_status status = read_options(c, runs[index].words, argc - 2, argv + 2, call);
    terminal_open(&t, call->s.v.quiet);
    log_set(terminal_log, &t, call->s.v.quiet ? LOG_ERROR : call->s.v.verbose ? LOG_DEBUG : LOG_INFO);
    if (status == DDPM_OK) warn_misspelt();
    call->line = line;
    call->events = (tool_events){ .ctx = &t, .message = terminal_message, .progress = terminal_progress, .request = signals_request };
    if (status == DDPM_OK && runs[index].signals) signals_install();
    if (status == DDPM_OK) status = runs[index].run(call);
    terminal_close(&t);
    const int code = report(c, call, status, as_json || call->s.v.json);
    json_free(call->document);
    free(call->text);
    free(call);
    free(line);
    return code;
}

int main(int argc, char **argv)
{
    static const char *const HELP[] = { "--help", "-h", NULL }, *const JSON[] = { "--json", NULL }, *const BUILD[] = { "--build_info", "--build-info", NULL },
                      *const VERSION[] = { "--version", "-V", NULL };
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        help_program(stderr);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (name[0] == '-') {
        const bool build = words_have(argc - 1, argv + 1, BUILD);
        if (build || words_have(1, argv + 1, VERSION)) return print_version(build);
        if (!words_have(1, argv + 1, HELP)) return unknown_command(name, false);
        help_program(stdout);
        return finish_output(0);
    }
    const bool as_json = words_have(argc - 2, argv + 2, JSON);
    const option_command *c = find_command(name);
    if (!c) return unknown_command(name, as_json);
    if (!c->group) return run_generator(c, argc - 2, argv + 2);
    if (words_have(argc - 2, argv + 2, HELP)) {
        help_command(stdout, c);
        return finish_output(0);
    }
    size_t index = 0;
    while (strcmp(runs[index].name, name)) index++;
    return run_command(c, index, argc, argv, as_json);
}
