import type { Presenter } from "./presenter.js";

export const present: Presenter = () => [];
