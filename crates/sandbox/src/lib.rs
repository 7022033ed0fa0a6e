//! Namespaces, mounts, filters, control groups, probes, and the overwriting of memory and storage.
