// SPDX-License-Identifier: Apache-2.0
// A plain C program that loads the library, uses it from two threads, unloads it, and finds it
// gone.
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

typedef const char* (*version_function)(void);

static void* call(void* function) {
  version_function version;
  memcpy(&version, &function, sizeof version);
  return (void*)version();
}

static int is_mapped(const char* name) {
  FILE* maps = fopen("/proc/self/maps", "r");
  if (!maps) return -1;
  char line[4096];
  int found = 0;
  while (fgets(line, sizeof line, maps)) found |= strstr(line, name) != NULL;
  fclose(maps);
  return found;
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  for (int round = 0; round < 3; ++round) {
    void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) return printf("dlopen: %s\n", dlerror()), 1;
    if (is_mapped("libinterlock") != 1) return puts("loaded, but not in /proc/self/maps"), 1;
    void* symbol = dlsym(library, "interlock_version_string");
    if (!symbol) return printf("dlsym: %s\n", dlerror()), 1;
    char said[64];
    snprintf(said, sizeof said, "%s", (const char*)call(symbol));
    pthread_t thread;
    void* from_thread;
    if (pthread_create(&thread, NULL, call, symbol)) return puts("pthread_create"), 1;
    pthread_join(thread, &from_thread);
    if (strcmp(said, from_thread) != 0) return puts("two threads, two versions"), 1;
    if (dlclose(library)) return printf("dlclose: %s\n", dlerror()), 1;
    if (is_mapped("libinterlock") != 0) return puts("still mapped after dlclose"), 1;
    if (round == 2) puts(said);
  }
}
