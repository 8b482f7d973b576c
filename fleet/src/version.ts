/** Version of the package; a test holds it equal to package.json. */
export const FLEET_VERSION = "0.1.0";

/** Version of what a queue holds: jobs and counters. Programs of another one keep away from the queue. */
export const QUEUE_SCHEMA = 1;
