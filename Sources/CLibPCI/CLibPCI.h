// SPDX-License-Identifier: Apache-2.0
// libpci (pciutils): the enumeration that lspci itself uses.
//
// libpci reports trouble through a callback that must not return, and that is told neither the
// access nor the device; its own default ends the process. Hence every call that can reach the
// callback is made here under a guard: the callback jumps back out of libpci, whose frames are
// plain C and hold nothing but, in two places, an open directory or file that then stays open.
// pci_alloc and pci_cleanup report nothing, short of having no memory for a few hundred bytes.
#ifndef NETDMA_CLIBPCI_H
#define NETDMA_CLIBPCI_H
#include <pci/pci.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct netdma_pci_report {
  unsigned warnings;
  char error[240];    // empty when the call did not fail
  char warning[240];  // the last one
};

struct netdma_pci_guard {
  jmp_buf escape;
  struct netdma_pci_report *_Nonnull report;
};

// The guard of the libpci call that this thread is in.
static inline struct netdma_pci_guard *_Nullable *_Nonnull netdma_pci_active(void) {
  static _Thread_local struct netdma_pci_guard *active;
  return &active;
}

__attribute__((noreturn, format(printf, 1, 2)))
static inline void netdma_pci_on_error(char *_Nonnull message, ...) {
  struct netdma_pci_guard *guard = *netdma_pci_active();
  if (!guard) abort();  // unreachable: every call that can fail is guarded
  va_list arguments;
  va_start(arguments, message);
  vsnprintf(guard->report->error, sizeof guard->report->error, message, arguments);
  va_end(arguments);
  longjmp(guard->escape, 1);
}

__attribute__((format(printf, 1, 2)))
static inline void netdma_pci_on_warning(char *_Nonnull message, ...) {
  struct netdma_pci_guard *guard = *netdma_pci_active();
  if (!guard) return;
  va_list arguments;
  va_start(arguments, message);
  vsnprintf(guard->report->warning, sizeof guard->report->warning, message, arguments);
  va_end(arguments);
  guard->report->warnings++;
}

__attribute__((format(printf, 1, 2)))
static inline void netdma_pci_on_debug(char *_Nonnull message, ...) { (void)message; }

// Runs `call` with the callbacks set; returns 1 when it came to its end.
#define NETDMA_PCI_GUARDED(access, to, call)                 \
  struct netdma_pci_guard guard;                             \
  guard.report = (to);                                       \
  memset(guard.report, 0, sizeof *guard.report);             \
  (access)->error = netdma_pci_on_error;                     \
  (access)->warning = netdma_pci_on_warning;                 \
  (access)->debug = netdma_pci_on_debug;                     \
  *netdma_pci_active() = &guard;                             \
  if (setjmp(guard.escape) != 0) {                           \
    *netdma_pci_active() = NULL;                             \
    return 0;                                                \
  }                                                          \
  call;                                                      \
  *netdma_pci_active() = NULL;                               \
  return 1

#define NETDMA_PCI_CALL __attribute__((noinline)) static inline int

// Reads the sysfs tree below `path` (in place of /sys/bus/pci) and nothing else: no probing of
// ports, no name cache, no DNS.
NETDMA_PCI_CALL netdma_pci_init(
    struct pci_access *_Nonnull a, const char *_Nonnull path,
    struct netdma_pci_report *_Nonnull report) {
  a->method = PCI_ACCESS_SYS_BUS_PCI;
  a->id_lookup_mode = 0;
  if (pci_set_param(a, (char *)"sysfs.path", (char *)path) != 0) {
    memset(report, 0, sizeof *report);
    snprintf(report->error, sizeof report->error, "libpci has no sysfs access method");
    return 0;
  }
  NETDMA_PCI_GUARDED(a, report, pci_init(a));
}

NETDMA_PCI_CALL netdma_pci_scan(
    struct pci_access *_Nonnull a, struct netdma_pci_report *_Nonnull report) {
  NETDMA_PCI_GUARDED(a, report, pci_scan_bus(a));
}

NETDMA_PCI_CALL netdma_pci_fill(
    struct pci_dev *_Nonnull d, int flags, struct netdma_pci_report *_Nonnull report) {
  NETDMA_PCI_GUARDED(d->access, report, (void)pci_fill_info(d, flags));
}

// Stores `length` bytes of configuration space, or *complete = 0 where they are not readable.
NETDMA_PCI_CALL netdma_pci_read(
    struct pci_dev *_Nonnull d, int offset, uint8_t *_Nonnull bytes, int length,
    int *_Nonnull complete, struct netdma_pci_report *_Nonnull report) {
  *complete = 0;
  NETDMA_PCI_GUARDED(d->access, report, *complete = pci_read_block(d, offset, bytes, length));
}

// Which fields `netdma_pci_fill` gets in one go; the newer ones where this libpci has them.
static inline int netdma_pci_fields_identity(void) { return PCI_FILL_IDENT | PCI_FILL_CLASS; }
static inline int netdma_pci_fields_all(void) {
  return PCI_FILL_IDENT | PCI_FILL_CLASS | PCI_FILL_BASES | PCI_FILL_SIZES | PCI_FILL_IO_FLAGS |
         PCI_FILL_NUMA_NODE | PCI_FILL_IOMMU_GROUP
#ifdef PCI_FILL_CLASS_EXT
         | PCI_FILL_CLASS_EXT | PCI_FILL_SUBSYS
#endif
      ;
}
static inline int netdma_pci_fields_capabilities(void) { return PCI_FILL_CAPS | PCI_FILL_EXT_CAPS; }

// 1 when `netdma_pci_fields_all` brings programming interface, revision and subsystem.
static inline int netdma_pci_knows_class_extension(void) {
#ifdef PCI_FILL_CLASS_EXT
  return 1;
#else
  return 0;
#endif
}
static inline uint8_t netdma_pci_programming_interface(const struct pci_dev *_Nonnull d) {
#ifdef PCI_FILL_CLASS_EXT
  return d->prog_if;
#else
  (void)d;
  return 0;
#endif
}
static inline uint8_t netdma_pci_revision(const struct pci_dev *_Nonnull d) {
#ifdef PCI_FILL_CLASS_EXT
  return d->rev_id;
#else
  (void)d;
  return 0;
#endif
}
static inline uint16_t netdma_pci_subsystem_vendor(const struct pci_dev *_Nonnull d) {
#ifdef PCI_FILL_SUBSYS
  return d->subsys_vendor_id;
#else
  (void)d;
  return 0;
#endif
}
static inline uint16_t netdma_pci_subsystem_device(const struct pci_dev *_Nonnull d) {
#ifdef PCI_FILL_SUBSYS
  return d->subsys_id;
#else
  (void)d;
  return 0;
#endif
}
// The number of the IOMMU group as text, NULL when there is none.
static inline const char *_Nullable netdma_pci_group(struct pci_dev *_Nonnull d) {
  return pci_get_string_property(d, PCI_FILL_IOMMU_GROUP);
}
static inline uint64_t netdma_pci_bar_base(const struct pci_dev *_Nonnull d, int bar) {
  return bar >= 0 && bar < 6 ? d->base_addr[bar] : 0;
}
static inline uint64_t netdma_pci_bar_size(const struct pci_dev *_Nonnull d, int bar) {
  return bar >= 0 && bar < 6 ? d->size[bar] : 0;
}
static inline uint64_t netdma_pci_bar_flags(const struct pci_dev *_Nonnull d, int bar) {
  return bar >= 0 && bar < 6 ? d->flags[bar] : 0;
}

// The file of names to use in place of libpci's own; libpci frees the copy.
static inline void netdma_pci_set_names(struct pci_access *_Nonnull a, const char *_Nonnull path) {
  char *copy = strdup(path);
  if (copy) pci_set_name_list_path(a, copy, 1);
}

enum netdma_pci_name {
  NETDMA_PCI_NAME_VENDOR = PCI_LOOKUP_VENDOR,
  NETDMA_PCI_NAME_DEVICE = PCI_LOOKUP_DEVICE,
  NETDMA_PCI_NAME_SUBSYSTEM = PCI_LOOKUP_SUBSYSTEM | PCI_LOOKUP_DEVICE,
  NETDMA_PCI_NAME_CLASS = PCI_LOOKUP_CLASS,
};

// Stores a name from pci.ids, or an empty string when it has none. Never asks DNS or udev.
NETDMA_PCI_CALL netdma_pci_name(
    struct pci_access *_Nonnull a, int kind, int id1, int id2, int id3, int id4,
    char *_Nonnull text, int size, struct netdma_pci_report *_Nonnull report) {
  text[0] = 0;
  NETDMA_PCI_GUARDED(
      a, report,
      // What is not `text` is a fixed message or NULL.
      if (pci_lookup_name(
              a, text, size, kind | PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB, id1, id2, id3,
              id4) != text) text[0] = 0);
}

// The texts of a report, NUL-terminated, valid while the report lives.
static inline const char *_Nonnull netdma_pci_error_text(
    const struct netdma_pci_report *_Nonnull report) {
  return report->error;
}
static inline const char *_Nonnull netdma_pci_warning_text(
    const struct netdma_pci_report *_Nonnull report) {
  return report->warning;
}
#endif
