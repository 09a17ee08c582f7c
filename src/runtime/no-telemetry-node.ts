/**
 * onnxruntime's packages for Linux and macOS report to their maker since 1.30, and leave a device id, a database and logs behind. This is
 * turned off, unless the user has decided; the engine looks at the variable when it is loaded, so this is imported before it.
 *
 * Source: microsoft/onnxruntime pull request 27379.
 */
process.env.ORT_DISABLE_TELEMETRY ??= "1";
