import "./drop.js";
import "./result.js";
