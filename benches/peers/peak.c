/* Measures the peak rate of multiply-adds in f32, and the bandwidth of each level of the memory.
 *
 * cc -O2 -march=native -ffp-contract=fast -o peak peak.c -lpthread && ./peak [THREADS]
 *
 * Prints the figures of one thread and of THREADS threads (default: all cores). Each thread has its own buffer; the
 * buffers of all threads together fill half of L3, and each fills half of L1 or L2. "write" stores without reading;
 * "copy" counts the bytes that are read and those that are written.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The widest vector of the target, and whether it has 32 vector registers. */
#if defined(__AVX512F__)
#define BYTES 64
#define REGISTERS 32
#elif defined(__AVX__)
#define BYTES 32
#define REGISTERS 16
#elif defined(__aarch64__)
#define BYTES 16
#define REGISTERS 32
#else
#define BYTES 16
#define REGISTERS 16
#endif
/* Calls f with the number of each sum. There are as many independent sums as fit into the registers with a factor and a
 * term. */
#define TWELVE(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11)
#if REGISTERS == 32
#define SUMS 24
#define EACH_SUM(f) TWELVE(f) f(12) f(13) f(14) f(15) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23)
#else
#define SUMS 12
#define EACH_SUM(f) TWELVE(f)
#endif
#define LANES (BYTES / sizeof(float))
#define MAX_THREADS 1024
#define ROUNDS 5
#define SECONDS 0.05 /* approximate duration of one round */

typedef float vector __attribute__((vector_size(BYTES)));
/* Makes the compiler compute x, in a vector register. */
#if defined(__AVX512F__)
#define IN_REGISTER(x) __asm__ volatile("" : "+v"(x))
#elif defined(__x86_64__)
#define IN_REGISTER(x) __asm__ volatile("" : "+x"(x))
#else
#define IN_REGISTER(x) __asm__ volatile("" : "+w"(x))
#endif

struct task {
  void (*run)(struct task *);
  long passes;
  vector *data;
  size_t count; /* vectors in data */
  pthread_barrier_t *start;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static void multiply_add(struct task *task) {
  vector factor, term;
  for (size_t i = 0; i < LANES; i++) factor[i] = 0.999999f, term[i] = 1e-7f;
#define DECLARE(i) vector sum##i = term;
#define ADD(i) sum##i = sum##i * factor + term; IN_REGISTER(sum##i);
  EACH_SUM(DECLARE)
  for (long pass = 0; pass < task->passes; pass++) { EACH_SUM(ADD) }
}

static void read_all(struct task *task) {
  for (long pass = 0; pass < task->passes; pass++) {
    for (size_t i = 0; i + 8 <= task->count; i += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; j++) {
        vector x = task->data[i + j];
        IN_REGISTER(x);
      }
    }
  }
}

static void write_all(struct task *task) {
  for (long pass = 0; pass < task->passes; pass++) {
    vector x = {0};
    IN_REGISTER(x);
    for (size_t i = 0; i + 8 <= task->count; i += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; j++) task->data[i + j] = x;
    }
    __asm__ volatile("" ::: "memory");
  }
}

static void copy_half(struct task *task) {
  size_t half = task->count / 2 & ~(size_t)7;
  for (long pass = 0; pass < task->passes; pass++) {
    for (size_t i = 0; i < half; i += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; j++) {
        vector x = task->data[i + j];
        IN_REGISTER(x);
        task->data[half + i + j] = x;
      }
    }
    __asm__ volatile("" ::: "memory");
  }
}

static void *start(void *argument) {
  struct task *task = argument;
  pthread_barrier_wait(task->start);
  task->run(task);
  return NULL;
}

/* Returns the seconds that `threads` threads take for `passes` passes each. */
static double seconds(int threads, struct task task, vector **data, long passes) {
  pthread_t handles[MAX_THREADS];
  struct task tasks[MAX_THREADS];
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, threads + 1);
  for (int i = 0; i < threads; i++) {
    tasks[i] = task;
    tasks[i].passes = passes, tasks[i].data = data[i], tasks[i].start = &barrier;
    if (pthread_create(&handles[i], NULL, start, &tasks[i])) exit(1);
  }
  pthread_barrier_wait(&barrier);
  double before = now();
  for (int i = 0; i < threads; i++) pthread_join(handles[i], NULL);
  double elapsed = now() - before;
  pthread_barrier_destroy(&barrier);
  return elapsed;
}

/* Returns the highest number of passes per second of all threads together, over ROUNDS rounds. */
static double passes_per_second(int threads, struct task task, vector **data) {
  long passes = 1;
  double elapsed;
  while ((elapsed = seconds(threads, task, data, passes)) < SECONDS / 4) passes *= 2;
  passes = passes * SECONDS / elapsed + 1;
  double best = 0;
  for (int round = 0; round < ROUNDS; round++) {
    double rate = threads * passes / seconds(threads, task, data, passes);
    if (rate > best) best = rate;
  }
  return best;
}

/* Returns the size of a data cache in bytes. In some virtual machines, sysconf does not know the size. */
static long cache_size(int level, long fallback) {
  for (int index = 0; index < 8; index++) {
    char path[99], type[16];
    int found;
    long kib;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", index);
    FILE *file = fopen(path, "r");
    if (!file) break;
    int matches = fscanf(file, "%d", &found) == 1 && found == level;
    fclose(file);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", index);
    if (!(file = fopen(path, "r"))) break;
    matches &= fscanf(file, "%15s", type) == 1 && strcmp(type, "Instruction");
    fclose(file);
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
    if (!(file = fopen(path, "r"))) break;
    matches &= fscanf(file, "%ldK", &kib) == 1;
    fclose(file);
    if (matches) return kib << 10;
  }
  return fallback;
}

int main(int count, char **arguments) {
  int all = count > 1 ? atoi(arguments[1]) : (int)sysconf(_SC_NPROCESSORS_ONLN);
  if (all < 1 || all > MAX_THREADS) {
    fprintf(stderr, "expected 1 to %d threads\n", MAX_THREADS);
    return 2;
  }
  int threads[2] = {1, all}, cases = all > 1 ? 2 : 1;
  long l1 = cache_size(1, 32 << 10), l2 = cache_size(2, 1 << 20), l3 = cache_size(3, 32 << 20);
  size_t memory = (size_t)8 * l3, page = 2 << 20;
  vector *data[MAX_THREADS];
  for (int i = 0; i < all; i++) {
    data[i] = aligned_alloc(page, (memory / all + page - 1) / page * page);
    if (!data[i]) {
      fprintf(stderr, "out of memory\n");
      return 1;
    }
#if defined(MADV_HUGEPAGE)
    madvise(data[i], (memory / all + page - 1) / page * page, MADV_HUGEPAGE);
#endif
    memset(data[i], 0, (memory / all + page - 1) / page * page);
  }
  for (int i = 0; i < cases; i++) {
    struct task task = {.run = multiply_add};
    double flops = passes_per_second(threads[i], task, data) * SUMS * LANES * 2;
    printf("%d threads %.1f GF/s\n", threads[i], flops / 1e9);
  }
  const char *names[] = {"L1", "L2", "L3", "memory"};
  printf("%-8s%10s%9s%11s%11s%11s\n", "level", "KiB", "threads", "read GB/s", "write GB/s", "copy GB/s");
  for (int level = 0; level < 4; level++) {
    for (int i = 0; i < cases; i++) {
      size_t shared[] = {l1 / 2, l2 / 2, l3 / 2 / threads[i], memory / all};
      size_t bytes = shared[level];
      struct task read = {.run = read_all, .count = bytes / BYTES}, write = read, copy = read;
      write.run = write_all, copy.run = copy_half;
      double gb = bytes / 1e9;
      double rates[] = {passes_per_second(threads[i], read, data) * gb,
                        passes_per_second(threads[i], write, data) * gb,
                        passes_per_second(threads[i], copy, data) * gb};
      printf("%-8s%10zu%9d%11.1f%11.1f%11.1f\n", names[level], bytes >> 10, threads[i], rates[0], rates[1], rates[2]);
    }
  }
  return 0;
}
