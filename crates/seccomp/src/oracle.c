// Compiles rules with libseccomp, for the test in oracle_tests.rs. Reads numbers from standard input: the default action, then for each
// rule the action, the system call, the number of comparisons, and for each of those argument, operation and two values. Writes BPF.
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>

static uint64_t next(void) {
    uint64_t value = 0;
    return scanf("%" SCNu64, &value) == 1 ? value : UINT64_MAX;
}

int main(void) {
    scmp_filter_ctx filter = seccomp_init((uint32_t)next());
    if (!filter)
        return 1;
    for (uint64_t rules = next(); rules > 0; rules--) {
        uint32_t action = (uint32_t)next();
        int call = (int)next();
        unsigned count = (unsigned)next();
        struct scmp_arg_cmp comparisons[6];
        if (count > 6)
            return 2;
        for (unsigned i = 0; i < count; i++) {
            comparisons[i].arg = (unsigned)next();
            comparisons[i].op = (enum scmp_compare)next();
            comparisons[i].datum_a = next();
            comparisons[i].datum_b = next();
        }
        int result = seccomp_rule_add_exact_array(filter, action, call, count, comparisons);
        if (result < 0) {
            fprintf(stderr, "rule for call %d: %d\n", call, result);
            return 3;
        }
    }
    return seccomp_export_bpf(filter, 1) < 0 ? 4 : 0;
}
