/** Every role of ours. They are the cluster's. */
export const nexusRoles = [
  "nexus_owner",
  "nexus_worker",
  "nexus_server",
  "nexus_tienda",
  "nexus_ops",
  "nexus_queue",
];
