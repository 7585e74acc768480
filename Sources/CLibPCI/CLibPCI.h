// SPDX-License-Identifier: Apache-2.0
// libpci (pciutils): the enumeration that lspci itself uses.
#ifndef NETDMA_CLIBPCI_H
#define NETDMA_CLIBPCI_H
#include <pci/pci.h>
#endif
