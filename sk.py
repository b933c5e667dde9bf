import sys, warnings; warnings.simplefilter("ignore")
from sklearn.utils.estimator_checks import check_estimator
from unrolled.tasks.series.regressor import SeriesForecaster
from unrolled.tasks.series.classifier import SeriesClassifier
for est in (SeriesForecaster(horizon=2,context=4,hidden=4,steps=2,batch=2,validation=4), SeriesClassifier(hidden=4,conv=4,epochs=1)):
    print(type(est).__name__)
    for r in check_estimator(est,on_skip=None,on_fail=None):
        e=str(r["exception"]).replace("\n"," ")[:160] if r["exception"] else ""
        print("  ",r["status"],r["check_name"],e)
