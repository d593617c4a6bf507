/* SHA-256 against the standard's examples, a million letters, and an independent implementation in every cut. */
#include "io/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sha256.h"

static void digest_of(const void *data, size_t len, size_t piece, char hex[SHA256_HEX])
{
    sha256_state s;
    uint8_t digest[SHA256_BYTES];
    sha256_begin(&s);
    for (size_t at = 0; at < len; at += piece) sha256_add(&s, (const uint8_t *)data + at, len - at < piece ? len - at : piece);
    sha256_end(&s, digest);
    sha256_text(digest, hex);
}

static void test_examples_of_the_standard(void **state)
{
    (void)state;
    static const struct { const char *text, *hex; } EXAMPLES[] = {
        { "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
        { "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
        { "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
        { "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
          "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
    };
    char hex[SHA256_HEX];
    for (size_t i = 0; i < sizeof EXAMPLES / sizeof *EXAMPLES; i++) {
        digest_of(EXAMPLES[i].text, strlen(EXAMPLES[i].text), 7, hex);
        assert_string_equal(hex, EXAMPLES[i].hex);
    }
    char *letters = malloc(1000000);
    assert_non_null(letters);
    memset(letters, 'a', 1000000);
    digest_of(letters, 1000000, 4099, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(letters);
}

static void test_every_length_in_every_cut(void **state)
{
    (void)state;
    uint8_t bytes[200];
    char want[SHA256_HEX], got[SHA256_HEX];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 167 + 13);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        sha256(bytes, len, want);
        for (size_t piece = 1; piece <= 130; piece += 3) {
            digest_of(bytes, len, piece, got);
            assert_string_equal(got, want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_examples_of_the_standard), cmocka_unit_test(test_every_length_in_every_cut) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
